"""The cache: bounded, never evicting what is in use, loading each key once."""

import threading
import time

import pytest

from registry.cache import Loaded, NetworkCache


def test_least_recently_used_goes_first_and_bytes_are_bounded():
    cache = NetworkCache(30)
    gone = []
    for key in "abc":
        with cache.use(key, lambda key=key: Loaded(key, 10, lambda: gone.append(key))):
            pass
    with cache.use("a", lambda: pytest.fail("a was loaded twice")) as value:
        assert value == "a"
    with cache.use("d", lambda: Loaded("d", 10)):
        pass
    assert gone == ["b"]
    stats = cache.stats()
    assert stats["bytes"] == 30
    assert (stats["hits"], stats["misses"], stats["evictions"]) == (1, 4, 1)


@pytest.mark.fault(45)
def test_what_is_in_use_is_never_evicted():
    cache = NetworkCache(10)
    gone = []
    with cache.use("a", lambda: Loaded("a", 10, lambda: gone.append("a"))):
        with cache.use("b", lambda: Loaded("b", 10, lambda: gone.append("b"))):
            assert gone == []
            assert cache.stats()["bytes"] == 20
        assert gone == ["b"]
    assert cache.stats()["bytes"] == 10


def test_a_key_is_loaded_once_while_others_wait_and_other_keys_go_on():
    cache = NetworkCache(100)
    loads, seen, begun, go_on = [], [], threading.Event(), threading.Event()

    def slow():
        loads.append(1)
        begun.set()
        assert go_on.wait(5)
        return Loaded("value", 1)

    def reader():
        with cache.use("key", slow) as value:
            seen.append(value)

    threads = [threading.Thread(target=reader) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert begun.wait(5)
    with cache.use("other", lambda: Loaded("side by side", 1)) as value:
        assert value == "side by side"
    assert seen == []
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert loads == [1]
    assert seen == ["value"] * 5


def test_a_failed_load_reaches_all_who_wait_and_is_tried_again():
    cache = NetworkCache(100)
    waiting = threading.Event()
    errors = []

    def fail():
        waiting.wait(5)
        time.sleep(0.05)
        raise OSError("gone")

    def reader():
        try:
            with cache.use("key", fail):
                pass
        except OSError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting.set()
    for thread in threads:
        thread.join(5)
    assert errors == ["gone"] * 3
    with cache.use("key", lambda: Loaded("fine", 1)) as value:
        assert value == "fine"
    assert cache.stats()["in_use"] == 0


@pytest.mark.fault(45)
def test_many_threads_stay_within_the_limit():
    cache = NetworkCache(50)
    wrong = []

    def work(number):
        for turn in range(60):
            key = (number * 7 + turn) % 20
            with cache.use(key, lambda key=key: Loaded(key, 10)) as value:
                if value != key:
                    wrong.append((key, value))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    assert cache.stats()["bytes"] <= 50
