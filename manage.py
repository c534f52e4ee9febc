#!/usr/bin/env python
"""Django's command line. The project's own commands find a prepared home: folders, key, migrated database."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "segapp.settings")
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line, get_commands

    from segapp.importing import without_collection

    with without_collection():
        try:
            django.setup()  # before get_commands(), which remembers what it found
        except ImproperlyConfigured as error:
            sys.exit(str(error))
        if len(sys.argv) > 1 and "--help" not in sys.argv and get_commands().get(sys.argv[1]) in ("segapp", "registry"):
            from segapp.home import prepare_database

            prepare_database()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
