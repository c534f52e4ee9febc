"""Model files: written whole or not at all, refused when they changed."""

import errno
import hashlib
import os

import pytest

from registry import files
from registry.files import ModelFileDamaged, ModelFileMissing, verify, write_atomically


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_written_verifies(tmp_path):
    path = tmp_path / "deep" / "model.pth"
    write_atomically(path, lambda out: out.write(b"weights"))
    verify(path, sha256_of(b"weights"))
    assert [p.name for p in path.parent.iterdir()] == ["model.pth"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.pth"
    write_atomically(path, lambda out: out.write(b"old"))

    def fail(out):
        out.write(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    verify(path, sha256_of(b"old"))
    assert [p.name for p in tmp_path.iterdir()] == ["model.pth"]


@pytest.mark.fault(31)
def test_missing_truncated_and_flipped_files_are_refused(tmp_path):
    path = tmp_path / "model.pth"
    sha256 = sha256_of(b"x" * 1000)
    write_atomically(path, lambda out: out.write(b"x" * 1000))
    verify(path, sha256)  # now remembered: a change must be seen all the same
    path.write_bytes(b"x" * 999)
    with pytest.raises(ModelFileDamaged, match=r"model\.pth"):
        verify(path, sha256)
    flipped = bytearray(b"x" * 1000)
    flipped[500] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(ModelFileDamaged):
        verify(path, sha256)
    path.unlink()
    with pytest.raises(ModelFileMissing):
        verify(path, sha256)
    with pytest.raises(ModelFileMissing):
        verify(tmp_path, sha256)


def test_a_process_without_a_free_file_handle_calls_no_file_damaged(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    write_atomically(path, lambda out: out.write(b"weights"))

    def short(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(files, "digest", short)
    with pytest.raises(OSError, match="Too many open files"):
        verify(path, sha256_of(b"weights"))


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    sha256 = sha256_of(b"y")
    write_atomically(path, lambda out: out.write(b"y"))
    verify(path, sha256)

    def no_hash():
        raise AssertionError("hashed again")

    monkeypatch.setattr(files.hashlib, "sha256", no_hash)
    verify(path, sha256)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="hashed again"):
        verify(path, sha256)
