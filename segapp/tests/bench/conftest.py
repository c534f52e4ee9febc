"""The engine's tiny base, here too."""

from segapp.tests.pipeline.conftest import base, one_thread

__all__ = ["base", "one_thread"]
