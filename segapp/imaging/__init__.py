"""Pictures and masks as people send them, with pillow and numpy only: no Django, no torch, so both sides may import it."""

from segapp.imaging.refused import Refused

__all__ = ["Refused"]
