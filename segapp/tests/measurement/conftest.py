"""The engine's tiny base and model, here too."""

from segapp.tests.pipeline.conftest import base, discs, trained

__all__ = ["base", "discs", "trained"]
