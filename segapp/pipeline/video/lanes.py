"""Several forward passes at once, each on its share of the cores.

The threads of one pass wait for each other after every layer, so whenever decoding or encoding takes a core from one
of them, all stand still. Passes over different frames wait for nobody, and the cores are never idle.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch

MOST = 4  # passes at once: each holds its activations in memory

P = ParamSpec("P")
T = TypeVar("T")


class Lanes:
    """`count` threads for so many passes at once. Until `close`, they and the thread that made them have torch compute
    on one share of the cores each, so that none takes another's."""

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads()
        share = math.ceil(self._threads / MOST) if device.type == "cpu" else self._threads
        self.count = self._threads // share
        torch.set_num_threads(share)
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="forward", initializer=torch.set_num_threads, initargs=(share,)
        )

    def submit(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> Future[T]:
        return self._pool.submit(call, *args, **named)

    def close(self) -> None:
        """Leave what waits, end the threads, and give torch its usual number of threads back."""
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)
