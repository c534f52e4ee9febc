"""`manage.py serve` as an operator sees it: starts, says where it is, mends itself, ends without a trace."""

import os
import signal
import socket
import stat
import time

import psutil
import pytest

from segapp.parts import TRAIN_NICE
from segapp.tests.serving import PARTS, Served, lives, until

pytestmark = pytest.mark.slow


def test_it_starts_with_one_line_for_each_part_and_the_address(served, record_property):
    record_property("seconds_to_first_page", round(served.started_in, 2))
    lines = served.output().splitlines()
    for part in PARTS:
        assert [line for line in lines if line.split("|")[0].strip() == part], part
    assert f"Segapp is at {served.url} (Ctrl-C ends it)" in lines
    assert served.started_in < 30  # on a busy machine; the figure itself is in the report


def test_the_parts_are_children_with_the_promised_words_and_priorities(served):
    nice = {part: psutil.Process(served.pid(part)).nice() for part in PARTS}
    assert nice["train"] == min(19, os.nice(0) + TRAIN_NICE)
    assert nice["predict"] == nice["web"] == nice["redis"] == psutil.Process(served.process.pid).nice()
    for part in PARTS:
        pid = served.pid(part)
        assert psutil.Process(pid).ppid() == served.process.pid
        assert os.getpgid(pid) == pid


def test_all_it_writes_lies_below_the_home_and_the_broker_has_no_port(served):
    assert stat.S_IMODE((served.home / "var" / "secret_key").stat().st_mode) == 0o600
    assert (served.home / "var" / "redis" / "appendonly.aof").exists()
    listening = [c for c in psutil.Process(served.pid("redis")).net_connections("inet") if c.status == "LISTEN"]
    assert listening == []


def test_both_workers_get_ready_and_say_what_they_are(served):
    served.wait_ready()
    workers = served.visitor().get("/api/health").json()["workers"]
    assert {worker["queues"] for worker in workers} == {"train,video", "predict"}
    assert {worker["device"] for worker in workers} <= {"CPU", "CUDA"}


def test_no_network_library_lives_in_the_web_process(served):
    served.visitor().get("/analyze/")
    for process in [psutil.Process(served.pid("web")), *psutil.Process(served.pid("web")).children()]:
        assert not [entry.path for entry in process.memory_maps() if "torch" in entry.path]


def test_sixteen_requests_that_wait_do_not_keep_a_page_waiting(served):
    host, port = served.url.partition("//")[2].split(":")
    waiting = [socket.create_connection((host, int(port))) for _ in range(16)]
    for connection in waiting:
        connection.sendall(b"POST /api/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf")
    try:
        began = time.monotonic()
        assert served.visitor().get("/api/health").status == 200
        assert time.monotonic() - began < 5
    finally:
        for connection in waiting:
            connection.close()


def test_a_second_one_on_the_same_home_is_refused_in_one_line(served):
    refused = served.run("--port", "0")
    assert refused.returncode == 1
    assert "is served already" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert served.visitor().get("/").status == 200


def test_a_port_in_use_is_refused_in_one_line(tmp_path, served):
    refused = Served(tmp_path / "home").run("--port", served.url.rpartition(":")[2])
    assert refused.returncode == 1
    assert "is in use" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back_and_the_page_answers(served, part):
    killed = served.pid(part)
    os.kill(killed, signal.SIGKILL)
    until(lambda: served.pid(part) != killed)
    until(lambda: f"{part:<7} | was ended by SIGKILL" in served.output())
    until(lambda: answers(served))


def answers(server: Served) -> bool:
    try:
        return server.visitor().get("/").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_leaves_no_process_behind(own_server, number):
    own_server.start()
    for part in PARTS:
        own_server.pid(part)
    family, process = own_server.family(), own_server.process
    assert own_server.stop(number) < 10
    assert process.returncode == 0
    assert not [process for process in family if lives(process)]
    assert own_server.output().rstrip().endswith("Segapp has ended.")


def test_with_ready_workers_it_ends_in_time_too(own_server):
    own_server.start().wait_ready()
    family = own_server.family()
    assert own_server.stop() < 10
    assert not [process for process in family if lives(process)]


def test_killed_outright_it_leaves_no_process_behind_and_starts_again(own_server):
    own_server.start()
    for part in PARTS:
        own_server.pid(part)
    family = own_server.family()
    own_server.process.kill()
    own_server.process.wait()
    until(lambda: not [process for process in family if lives(process)], 5)
    own_server.start()
    assert own_server.visitor().get("/").status == 200


def test_without_a_terminal_it_goes_on(own_server):
    own_server.start()
    own_server.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert own_server.visitor().get("/").status == 200


@pytest.mark.fault(47)
def test_a_request_under_way_is_answered_before_the_end(own_server):
    own_server.start()
    host, port = own_server.url.partition("//")[2].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /api/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.5)
        own_server.process.send_signal(signal.SIGTERM)
        time.sleep(2)  # by then no new connection is taken
        connection.sendall(b"body")
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")
    own_server.stop()


def test_what_is_no_longer_needed_is_removed_without_a_cron_job(own_server):
    models = own_server.home / "media" / "models"
    models.mkdir(parents=True)
    orphan, fresh = models / f"user_{'a' * 32}.pth", models / f"user_{'b' * 32}.pth"
    for path in (orphan, fresh):
        path.write_bytes(b"weights whose row was never written")
    os.utime(orphan, (time.time() - 30 * 86400,) * 2)
    own_server.start()
    until(lambda: not orphan.exists(), 60)
    assert fresh.exists(), "its row may be about to be written"


def test_a_broker_file_that_cannot_be_read_is_set_aside(own_server):
    folder = own_server.home / "var" / "redis"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof").write_bytes(b"this is no append-only file\n" * 100)
    own_server.start()
    until(lambda: "was set aside" in own_server.output(), 20)
    assert (folder / "appendonly.unreadable").exists()
    until(lambda: (folder / "appendonly.aof").exists(), 20)
