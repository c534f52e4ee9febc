"""One POST to a stranger's address: where it may go, and what may come back."""

import ipaddress
import socket
import time

import pytest

from segapp.services.hook_addresses import RefusedAddress, parsed
from segapp.settings import env_networks
from segapp.tests.hooks.receiver import certificate, receiving
from segapp.worker import hook_posts
from segapp.worker.hook_posts import Undeliverable, post, resolved

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::127.0.0.1]",
    "localhost",
]
OTHER_SPELLINGS = ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost."]


def resolves(monkeypatch, *answers: list[str]) -> list[str]:
    """From now on names resolve to the next of these answers; the list of names that were asked for."""
    asked, left, really = [], list(answers), socket.getaddrinfo

    def getaddrinfo(host, port, *more, **named):
        if not str(host).endswith(".test"):
            return really(host, port, *more, **named)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("host", PRIVATE)
def test_an_address_within_the_network_is_refused_when_typed_and_when_sent(host):
    with pytest.raises(RefusedAddress, match="own network"):
        parsed(f"http://{host}/x")
    with pytest.raises(Undeliverable, match="own network") as refused:
        post(f"http://{host}/x", b"", {})
    assert refused.value.final


@pytest.mark.parametrize("host", OTHER_SPELLINGS)
def test_other_spellings_of_this_machine_are_refused_when_sent(host):
    with pytest.raises(Undeliverable, match=r"own network|no machine of the name"):
        post(f"http://{host}:1/x", b"", {})


@pytest.mark.parametrize("address", [host.strip("[]") for host in PRIVATE if host != "localhost"])
def test_a_name_that_leads_into_the_network_is_refused(monkeypatch, address):
    resolves(monkeypatch, [address])
    with pytest.raises(Undeliverable, match="own network"):
        resolved("https://inside.test/x")
    resolves(monkeypatch, ["93.184.215.14", address])
    with pytest.raises(Undeliverable, match="own network"):
        resolved("https://both.test/x")


def test_addresses_of_the_internet_are_taken(monkeypatch):
    resolves(monkeypatch, ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
    target = resolved("https://example.test:8443/told?a=1#part")
    assert [str(address) for address in target.addresses] == ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
    assert (target.name, target.path, target.https) == ("example.test:8443", "/told?a=1", True)
    assert resolved("http://example.test").name == "example.test"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.test/x",
        "file:///etc/passwd",
        "example.test/x",
        "http://",
        "http://example.test:99999/",
        "http://[::1/x",
        "http://me:secret@example.test/",
        "http://example.test/a b",
        "http://example.test/\r\nX-Evil: 1",
        "http://example.test/" + "x" * 600,
        "",
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(RefusedAddress):
        parsed(url)


@pytest.mark.usefixtures("this_machine")
def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(monkeypatch, receiver):
    asked = resolves(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    url = receiver.url.replace("127.0.0.1", "rebinds.test")
    assert post(url, b"{}", {"X-Own": "1"}) == 204
    assert asked == ["rebinds.test"]
    (path, headers, body) = receiver.seen[0]
    assert (path, body, headers["X-Own"]) == ("/told?lab=1", b"{}", "1")
    assert headers["Host"] == url.split("/")[2]
    with pytest.raises(Undeliverable, match="own network"):
        post(url, b"{}", {})
    assert len(receiver.seen) == 1


@pytest.mark.usefixtures("this_machine")
def test_an_operator_allows_networks_one_by_one(receiver):
    assert post(receiver.url, b"", {}) == 204
    with pytest.raises(Undeliverable, match="own network"):
        post("http://10.0.0.1/x", b"", {})


def test_networks_are_read_from_the_environment(monkeypatch):
    for value, expected in (("", []), ("0", []), ("10.0.0.0/8, 192.168.1.5", ["10.0.0.0/8", "192.168.1.5/32"])):
        monkeypatch.setenv("SEGAPP_HOOK_PRIVATE", value)
        assert env_networks("SEGAPP_HOOK_PRIVATE") == [ipaddress.ip_network(one) for one in expected]
    monkeypatch.setenv("SEGAPP_HOOK_PRIVATE", "1")
    assert [network.num_addresses for network in env_networks("SEGAPP_HOOK_PRIVATE")] == [2**32, 2**128]
    monkeypatch.setenv("SEGAPP_HOOK_PRIVATE", "lab.local")
    with pytest.raises(Exception, match="SEGAPP_HOOK_PRIVATE"):
        env_networks("SEGAPP_HOOK_PRIVATE")


@pytest.mark.usefixtures("this_machine")
@pytest.mark.parametrize(
    ("answer", "message", "final"),
    [
        ((302, {"Location": "http://127.0.0.1:1/elsewhere"}), "redirects to http://127.0.0.1:1/elsewhere", False),
        ((308, {}), "redirects to elsewhere", False),
        (500, "answered with status 500", False),
        (404, "answered with status 404", False),
        (410, "answered with status 410", True),
    ],
)
def test_anything_but_a_2xx_is_not_taken_for_delivered(receiver, answer, message, final):
    receiver.answers = [answer]
    with pytest.raises(Undeliverable, match=message) as refused:
        post(receiver.url, b"", {})
    assert refused.value.final is final
    assert refused.value.status == (answer if isinstance(answer, int) else answer[0])
    assert len(receiver.seen) == 1, "redirects are not followed"


@pytest.mark.usefixtures("this_machine")
def test_a_receiver_that_says_nothing_or_too_slowly_is_left(receiver, monkeypatch):
    monkeypatch.setattr(hook_posts, "SECONDS", 0.5)
    monkeypatch.setattr(hook_posts, "ALTOGETHER", 1.0)
    receiver.seconds = 3
    began = time.monotonic()
    with pytest.raises(Undeliverable, match="did not answer within"):
        post(receiver.url, b"", {})
    receiver.seconds, receiver.drip = 0, 0.05  # a byte comes within every timeout, but never the end
    with pytest.raises(Undeliverable, match="did not answer within"):
        post(receiver.url, b"", {})
    assert time.monotonic() - began < 2.8


@pytest.mark.usefixtures("this_machine")
def test_a_handshake_that_never_ends_is_left(monkeypatch):
    monkeypatch.setattr(hook_posts, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(Undeliverable, match="cannot be reached"):
            post(f"https://127.0.0.1:{silent.getsockname()[1]}/", b"", {})
        assert time.monotonic() - began < 2


@pytest.mark.usefixtures("this_machine")
def test_little_is_read_of_a_large_answer(receiver):
    receiver.body = b"x" * 50_000_000
    began = time.monotonic()
    assert post(receiver.url, b"", {}) == 204
    assert time.monotonic() - began < 2


@pytest.mark.usefixtures("this_machine")
def test_nobody_there_is_said_with_host_and_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Undeliverable, match=f"127.0.0.1 cannot be reached on port {port}: connection refused"):
        post(f"http://127.0.0.1:{port}/", b"", {})
    with pytest.raises(Undeliverable, match="no machine of the name"):
        post("https://no-such-machine.invalid/", b"", {})


@pytest.mark.usefixtures("this_machine")
def test_a_certificate_that_nobody_signed_is_refused_and_a_trusted_one_taken(tmp_path, monkeypatch):
    own = certificate(tmp_path / "receiver.pem")
    with receiving(own) as receiver:
        hook_posts._trust.cache_clear()
        with pytest.raises(Undeliverable, match=r"certificate of 127\.0\.0\.1 is not valid"):
            post(receiver.url, b"", {})
        assert receiver.seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        hook_posts._trust.cache_clear()
        assert post(receiver.url, b"{}", {}) == 204
        resolves(monkeypatch, ["127.0.0.1"])
        with pytest.raises(Undeliverable, match=r"certificate of wrong\.test is not valid"):
            post(receiver.url.replace("127.0.0.1", "wrong.test"), b"{}", {})
    hook_posts._trust.cache_clear()
