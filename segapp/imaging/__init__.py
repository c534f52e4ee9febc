"""Images and masks as people send them; pillow and numpy only, so both sides may import it."""

from segapp.imaging.invalid_file import InvalidFile

__all__ = ["InvalidFile"]
