"""Annotation files: where objects are on images, as tools for annotating write it. One file a format.

Every reader takes bytes from outside, so sizes, counts and nesting are bounded in shapes.py, and whatever does not fit
ends as InvalidFile. Knows nothing of pairs, uploads or rows.
"""

from segapp.imaging.annotations.drawing import Drawn, draw
from segapp.imaging.annotations.reading import Drawing, Everything, numbered, read

__all__ = ["Drawing", "Drawn", "Everything", "draw", "numbered", "read"]
