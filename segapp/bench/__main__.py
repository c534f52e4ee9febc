"""The bench inside its own home: `python -m segapp.bench WHAT OPTIONS`, from apart.py. Prints one JSON object."""

import json
import sys

import django


def main() -> None:
    django.setup()
    from segapp.bench import live, load_server, run_load, segment, serve  # here: models need the setup above
    from segapp.bench.run_serve import Options
    from segapp.home import prepare_database

    prepare_database()
    what, options = sys.argv[1], json.loads(sys.argv[2])
    if what == "serve":
        print(json.dumps(serve.run(Options(**options))))
        return
    if what == "load":
        print(json.dumps(load_server.run(run_load.Options(**options))))
        return
    bench = live.run if what == "live" else segment.run
    print(json.dumps(bench(**options)))


if __name__ == "__main__":
    main()
