"""Decoded images share a bounded amount of memory: who comes first is served first, and nobody waits for ever."""

import io
import re
import threading
import time

import pytest
from PIL import Image

from segapp.home import PROJECT
from segapp.imaging import decode, forked, header_size, memory
from segapp.imaging.memory import Budget, DecodersBusy
from segapp.tests.readers.making import colour, tiff

DECODERS = {"decode.py", "stored.py", "painted.py", "annotations/labelme.py", "readers", "profiles.py"}


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_what_does_not_fit_waits_until_there_is_room():
    budget, done = Budget(100, patience=5), []

    def second():
        with budget.hold(60):
            done.append(1)

    with budget.hold(60):
        thread = in_thread(second)
        time.sleep(0.1)
        assert not done
    thread.join(5)
    assert done


def test_a_large_one_is_not_passed_by_small_ones_for_ever():
    budget, order, first = Budget(100, patience=5), [], threading.Event()

    def take(size, name):
        with budget.hold(size):
            order.append(name)

    with budget.hold(50):
        large = in_thread(lambda: take(100, "large"))
        time.sleep(0.05)
        small = in_thread(lambda: take(10, "small"))
        time.sleep(0.05)
        assert order == []
        first.set()
    large.join(5)
    small.join(5)
    assert order == ["large", "small"]


def test_waiting_ends_after_a_while_and_leaves_no_trace():
    budget = Budget(100, patience=0.05)
    with budget.hold(100):
        failed = []

        def late():
            try:
                with budget.hold(1):
                    pass
            except DecodersBusy as busy:
                failed.append(busy.retry_after)

        in_thread(late).join(5)
    assert failed and failed[0] > 0
    with budget.hold(100):
        pass


def test_only_so_many_wait():
    budget = Budget(100, patience=1, most=2)
    refused = []

    def wait():
        try:
            with budget.hold(100):
                pass
        except DecodersBusy:
            refused.append(time.monotonic())

    with budget.hold(100):
        began = time.monotonic()
        threads = [in_thread(wait) for _ in range(4)]
        time.sleep(0.2)
        assert len(refused) == 2 and max(refused) - began < 0.5
    for thread in threads:
        thread.join(5)
    assert len(refused) == 2


def test_more_than_there_is_gets_all_of_it_and_what_is_held_within_costs_nothing_more():
    budget = Budget(100, patience=0.05)
    with budget.hold(10**9):
        assert budget.held() == 100
        with budget.hold(50):
            assert budget.held() == 100
    assert budget.held() == 0


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "P", "LA", "I;16"])
@pytest.mark.parametrize("what", [decode.image, decode.mask])
def test_every_decode_holds_what_it_takes(what, mode, monkeypatch):
    seen, plain = [], forked.read

    def read(*asked):
        seen.append(memory.decoding.held())
        return plain(*asked)

    file = io.BytesIO()
    Image.new(mode, (64, 48)).save(file, "PNG")
    monkeypatch.setattr(forked, "read", read)
    what(file, "a.png")
    assert seen and all(held >= memory.READ * 64 * 48 for held in seen)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}])
def test_the_size_of_a_tiff_is_in_its_header(options):
    file = tiff(colour(), photometric="rgb", **options)
    assert header_size.of("tiff", file) == (128, 96) and file.tell() == 0


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0" + b"\xff" * 40, b"II+\0" + b"\xff" * 40])
def test_a_header_that_cannot_be_read_counts_as_a_usual_image(content):
    assert header_size.of("tiff", io.BytesIO(content)) == header_size.UNKNOWN
    assert header_size.of("heif", io.BytesIO(content)) == header_size.UNKNOWN


def test_the_web_side_opens_images_nowhere_else():
    found = []
    for folder in ("imaging", "services", "views", "api"):
        root = PROJECT / "segapp" / folder
        for path in root.rglob("*.py"):
            name = path.relative_to(root).as_posix()
            if not any(name == one or name.startswith(f"{one}/") for one in DECODERS):
                found += [path for _ in re.finditer(r"Image\.open\(|\.load\(\)", path.read_text())]
    assert not found
