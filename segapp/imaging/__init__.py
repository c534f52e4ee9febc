"""Images and masks as people send them; pillow and numpy only, so both sides may import it."""

from segapp.imaging.refused import Refused

__all__ = ["Refused"]
