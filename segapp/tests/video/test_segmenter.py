"""Several forward passes at once: in parallel, each on its part of the cores, with no trace of it in the masks."""

import threading

import numpy as np
import pytest
import torch

from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.plan import EVERY, Options
from segapp.pipeline.video.process import process
from segapp.pipeline.video.segmenter import MAX_PASSES, ForwardPool
from segapp.tests.video.videos import bright_network, index_masks, moving, write_video

CPU = torch.device("cpu")


@pytest.fixture
def with_threads():
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


def threads_of_a_new_thread() -> int:
    found = []
    one = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    one.start()
    one.join()
    return found[0]


def test_passes_run_in_parallel_each_on_its_part_of_the_cores(with_threads):
    with_threads(2)
    pool = ForwardPool(CPU)
    try:
        assert pool.count == 2
        meeting = threading.Barrier(2, timeout=20)  # passed only when both are there at the same time

        def cores() -> int:
            meeting.wait()
            return torch.get_num_threads()

        assert [one.result() for one in [pool.submit(cores), pool.submit(cores)]] == [1, 1]
        assert torch.get_num_threads() == 1, "whoever decides what they computed takes no core from them"
    finally:
        pool.close()
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


@pytest.mark.parametrize(
    ("threads", "count", "cores"), [(1, 1, 1), (3, 3, 1), (6, 3, 2), (4 * MAX_PASSES, MAX_PASSES, 4)]
)
def test_many_cores_are_shared_by_a_few(with_threads, threads, count, cores):
    with_threads(threads)
    pool = ForwardPool(CPU)
    try:
        assert (pool.count, pool.submit(torch.get_num_threads).result()) == (count, cores)
    finally:
        pool.close()


def test_a_pass_that_fails_raises_in_the_caller_and_the_next_one_runs(with_threads):
    with_threads(2)
    pool = ForwardPool(CPU)
    try:
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 // 0).result()
        assert pool.submit(lambda: 3).result() == 3
    finally:
        pool.close()


@pytest.mark.parametrize("options", [Options(EVERY, damping=0.7), Options(3.0, damping=0.7)])
def test_masks_come_in_order_and_are_the_same_however_many_passes_run_at_once(tmp_path, with_threads, options):
    """Smoothing makes every mask depend on those before it."""
    original = write_video(tmp_path / "a.mp4", 64, 48, frames=30, rate=10, draw=moving(64, 48))
    found = []
    for passes in (1, 3):
        with_threads(passes)
        folder = tmp_path / f"job{passes}"
        done = process(bright_network(), original, folder, options, Limits())
        assert done.frames == 30
        found.append((index_masks(folder), (folder / "frames.csv").read_bytes()))
    (one, table), (several, other) = found
    assert list(one) == list(several)
    assert table == other
    for name, mask in one.items():
        np.testing.assert_array_equal(mask, several[name], err_msg=name)
