"""The bench inside its own home: `python -m segapp.bench WHAT OPTIONS`, from apart.py. Prints one JSON object."""

import json
import sys

import django


def main() -> None:
    django.setup()
    from segapp.bench import segment, serve  # here: models need the setup above
    from segapp.bench.run_serve import Options
    from segapp.home import prepare_database

    prepare_database()
    what, options = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(serve.run(Options(**options)) if what == "serve" else segment.run(**options)))


if __name__ == "__main__":
    main()
