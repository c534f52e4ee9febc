"""The check after every test sees a thread that is scheduled in another way, and puts it right."""

import os
import threading

import pytest

from segapp.tests import scheduling

pytestmark = pytest.mark.skipif(not scheduling.policies(), reason="this system does not tell how it schedules")


@pytest.mark.fault(49)
def test_a_thread_of_another_policy_is_found_and_put_right():
    usual = os.sched_getscheduler(0)
    other = os.SCHED_BATCH if usual != os.SCHED_BATCH else os.SCHED_OTHER
    changed, done = threading.Event(), threading.Event()

    def work() -> None:
        os.sched_setscheduler(threading.get_native_id(), other, os.sched_param(0))
        changed.set()
        done.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert changed.wait(30)
        assert scheduling.restore(usual) == [thread.native_id]
        assert set(scheduling.policies().values()) == {usual}
    finally:
        done.set()
        thread.join()
