"""The bench inside its own home: `python -m segapp.bench OPTIONS`, started by run.py. Prints one JSON object."""

import json
import sys

import django


def main() -> None:
    django.setup()
    from segapp.bench import serve  # here: models need the setup above
    from segapp.bench.run import Options
    from segapp.home import prepare_database

    prepare_database()
    print(json.dumps(serve.run(Options(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
