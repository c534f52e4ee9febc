"""A watch that is killed at its n-th step, for every n, and then started again: what is there in the end?

`python -m segapp.tests.watch.dying FOLDER MODEL`, with the home in the environment. A step is what changes files: a
line of the journal, a rename, a removal. The process kills itself with SIGKILL just before or just after one. Prints
one line of JSON for each n. Forks, so that torch is imported once.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

STEPS = ("write", "replace", "rename", "unlink")


def main(folder: Path, model: str) -> None:
    import django

    django.setup()
    from segapp.worker import watch  # noqa: F401 (before forking)

    for number in range(1, 200):
        place = folder / f"{number}"
        shutil.copytree(folder / "arrives", place / "in")
        killed = forked(partial(run, place, model, number))
        starts = 1
        while forked(partial(run, place, model)) and starts < 5:
            starts += 1
        print(json.dumps({"killed": killed, "starts": starts, "place": str(place)}), flush=True)
        if not killed:
            return


def forked(work: Callable[[], Any]) -> bool:
    """Do it in a child of this process; whether it was killed."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def run(place: Path, model: str, dies_at: int = 0) -> None:
    """Everything that is there; 0: to the end."""
    from segapp.imaging.image_input import ImageInput
    from segapp.imaging.object_options import ObjectOptions
    from segapp.worker.watch import Order, Watch

    if dies_at:
        die_at(dies_at)
    order = Order(model, "", ObjectOptions(things=(1,)), ImageInput(), move=True)
    Watch(place / "in", place / "out", order, 0).once(lambda outcome: None, 0.01)


def die_at(number: int) -> None:
    """Odd numbers before the step, even ones after it."""
    left = [number]

    def counted(really: Callable[..., Any]) -> Callable[..., Any]:
        def step(*sent: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            found = really(*sent, **named)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
