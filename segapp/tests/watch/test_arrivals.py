"""When a file that arrives is taken: never before it is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segapp.worker.arrivals import EMPTY_SECONDS, Arrivals, Identity, being_written


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arrivals(tmp_path, clock) -> Arrivals:
    (tmp_path / "in").mkdir()
    return Arrivals(tmp_path / "in", (tmp_path / "in" / "out",), 5, clock)


def taken(arrivals: Arrivals, is_new=lambda name, identity: True) -> list[str]:
    return [arrival.name for arrival in arrivals.settled(is_new)]


def test_a_file_is_taken_when_it_has_not_changed_for_some_seconds(arrivals, clock):
    file = arrivals.folder / "a.png"
    file.write_bytes(b"first")
    assert taken(arrivals) == [] and arrivals.unsettled == 1
    clock.now = 4
    with file.open("ab") as writing:
        writing.write(b"second")
    assert taken(arrivals) == []
    clock.now = 8
    assert taken(arrivals) == [], "it changed four seconds ago"
    clock.now = 9.1
    assert taken(arrivals) == ["a.png"] and arrivals.unsettled == 0


def test_an_old_date_does_not_make_a_file_whole(arrivals, clock):
    file = arrivals.folder / "a.png"
    file.write_bytes(b"first")
    os.utime(file, (1, 1))  # as copying tools do
    assert taken(arrivals) == []
    clock.now = 6
    file.write_bytes(b"other")
    os.utime(file, (1, 1))
    assert taken(arrivals) == [], "same size, same date, other content"
    clock.now = 12
    assert taken(arrivals) == ["a.png"]


def test_a_file_that_somebody_has_open_for_writing_is_not_taken(arrivals, clock):
    file = arrivals.folder / "a.png"
    program = "import sys; f = open(sys.argv[1], 'wb', 0); f.write(b'half'); print('x', flush=True); input()"
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        if not being_written(file):
            writer.communicate(b"\n")
            pytest.skip("this file system tells nobody who writes")
        taken(arrivals)
        clock.now = 100
        assert taken(arrivals) == [], "silent for long, but not closed"
        writer.communicate(b"\n")
    assert taken(arrivals) == ["a.png"]


def test_a_renamed_file_waits_like_any_other(arrivals, clock):
    (arrivals.folder / "a.png.part").write_bytes(b"whole")
    taken(arrivals)
    clock.now = 10
    (arrivals.folder / "a.png.part").rename(arrivals.folder / "a.png")
    assert taken(arrivals) == []
    clock.now = 15
    assert taken(arrivals) == ["a.png"]


def test_an_empty_file_is_given_more_time(arrivals, clock):
    (arrivals.folder / "a.png").touch()
    taken(arrivals)
    clock.now = 30
    assert taken(arrivals) == []
    clock.now = EMPTY_SECONDS
    assert taken(arrivals) == ["a.png"]


def test_only_images_and_videos_are_taken_in_the_order_of_their_times(arrivals, clock):
    names = ["b.PNG", "run 1/deep/a.tif", "c.mp4", ".hidden.png", "~a.png", "a.png.part", "notes.txt", ".git/a.png"]
    for number, name in enumerate([*names, "out/masks/old.png"]):
        file = arrivals.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
        os.utime(file, (1000 - number, 1000 - number))
    taken(arrivals)
    clock.now = 5
    assert taken(arrivals) == ["c.mp4", "run 1/deep/a.tif", "b.PNG"]


def test_what_is_known_is_not_looked_at_again(arrivals, clock):
    for name in ("a.png", "b.png"):
        (arrivals.folder / name).write_bytes(b"x")
    known = Identity(1, (arrivals.folder / "a.png").stat().st_mtime_ns)

    def is_new(name, identity):
        return (name, identity) != ("a.png", known)

    taken(arrivals, is_new)
    clock.now = 5
    assert taken(arrivals, is_new) == ["b.png"]


def test_a_file_that_goes_away_or_a_loop_of_links_is_no_error(arrivals, clock):
    (arrivals.folder / "gone.png").symlink_to(arrivals.folder / "nowhere")
    (arrivals.folder / "loop").symlink_to(arrivals.folder, target_is_directory=True)
    Path(arrivals.folder, "a.png").write_bytes(b"x")
    taken(arrivals)
    clock.now = 5
    assert taken(arrivals) == ["a.png"]
