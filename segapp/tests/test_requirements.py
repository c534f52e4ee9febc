"""What is installed is what requirements.in asks for, locked with hashes."""

import re

from segapp.home import PROJECT

PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==(\S+)")


def pins(name: str) -> dict[str, str]:
    """Versions by normalised package name (PEP 503)."""
    lines = (PROJECT / name).read_text().splitlines()
    found = [match.groups() for line in lines if (match := PIN.match(line))]
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def test_the_lock_holds_every_package_that_is_asked_for():
    asked, locked = pins("requirements.in"), pins("requirements.txt")
    assert asked and asked.items() <= locked.items(), "Run `make lock`."


def test_every_locked_package_has_a_hash():
    text = (PROJECT / "requirements.txt").read_text()
    entries = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(entries) == len(pins("requirements.txt"))
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_torch_is_pinned_apart_from_the_lock():
    torch, locked = pins("requirements-torch.txt"), pins("requirements.txt")
    assert set(torch) == {"torch", "torchvision"}
    assert not torch.keys() & locked.keys()
