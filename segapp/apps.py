from django.apps import AppConfig


class SegappConfig(AppConfig):
    name = "segapp"
    verbose_name = "Segapp"

    def ready(self) -> None:
        from django.conf import settings

        from segapp import checks  # noqa: F401  registers the system checks
        from segapp.imaging import memory

        memory.decoding.limit = settings.SEGAPP_DECODE_BYTES
