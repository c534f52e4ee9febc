"""Readers beyond Pillow: tifffile, imagecodecs, pillow-heif.

Imported by workers, commands and the confined child of imaging/confined.py, never by the web process.
"""
