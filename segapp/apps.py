from django.apps import AppConfig


class SegappConfig(AppConfig):
    name = "segapp"
    verbose_name = "Segapp"

    def ready(self) -> None:
        from segapp import checks  # noqa: F401  registers the system checks
