"""What Pillow reads is read in a process of its own: what a file can do there, and what the site does about it."""

import io
import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image, ImageCms

from segapp.confine import ResourceLimits
from segapp.home import PROJECT
from segapp.imaging import InvalidFile, decode, forked, memory
from segapp.imaging.image_input import ImageInput
from segapp.imaging.readers import pillow
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.readers.making import tiff

SIDE = 4000
UNREADABLE = "needs more memory or time"
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

# A reader that does what a decoder that was taken over might do, and answers with what came of it.
HOSTILE = """
import json, os, signal, socket, sys
from segapp.imaging.readers import fork_server, read

def attempt(work):
    try:
        return repr(work())
    except BaseException as error:
        return type(error).__name__

plain = read.answer
def hostile(order, file):
    if order["name"] != "hostile.png":
        return plain(order, file)
    found = {
        "open": attempt(lambda: open("/etc/hostname").read()),
        "create": attempt(lambda: open(TARGET, "w")),
        "unlink": attempt(lambda: os.unlink(KEPT)),
        "socket": attempt(socket.socket),
        "pipe": attempt(os.pipe),
        "write": attempt(lambda: os.write(0, b"x")),
        "signal": attempt(lambda: os.kill(os.getppid(), 0)),
        "program": attempt(lambda: os.execv("/bin/true", ["true"])),
        "environment": " ".join(os.environ),
        "descriptors": [number for number in range(64) if attempt(lambda: os.fstat(number)) != "OSError"],
    }
    return {"refused": [json.dumps(found), ""]}, None

read.answer = hostile
fork_server.main()
"""


# A reader that is still at work on one file when a test acts, however busy the machine is.
SLOW = """
import time
from segapp.imaging.readers import fork_server, read

plain = read.answer
def slow(order, file):
    if order["name"] == "slow.png":
        time.sleep(6)
    return plain(order, file)

read.answer = slow
fork_server.main()
"""


@pytest.fixture
def fresh(monkeypatch):
    """The process that waits is another one than that of the tests before and after."""
    forked.stop()
    yield monkeypatch
    forked.stop()


@pytest.fixture
def slow(fresh):
    fresh.setattr(forked, "COMMAND", [sys.executable, "-c", SLOW])


@pytest.fixture(scope="module")
def large() -> bytes:
    """Decoding it takes a while."""
    return saved(Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 4)), compress_level=1).getvalue()


def read(content: bytes, name: str = "a.png", **limits):
    usual = {"memory": 1 << 31, "processor": 60, "clock": 60, "files": 0, "written": 1 << 30}
    return forked.read("image", io.BytesIO(content), name, ImageInput(), 0, ResourceLimits(**usual | limits))


def works() -> bool:
    return decode.image(saved(photo(64)), "good.png").size == (64, 64)


def forks() -> list[psutil.Process]:
    assert forked._server is not None
    return psutil.Process(forked._server.process.pid).children()


def while_it_reads(act) -> list:
    """What reading a file in a thread ended with; `act` is called with the fork that reads, while it does."""
    assert works()
    deadline = time.monotonic() + 60
    while len(forks()) != 1:  # the one that waits
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (waits,) = forks()
    ended: list = []

    def work():
        try:
            ended.append(read(saved(photo(64)).getvalue(), "slow.png"))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while waits.is_running() and len(forks()) == 1:  # the next one comes when the first has its file
        assert time.monotonic() < deadline
        time.sleep(0.001)
    act(waits)
    thread.join(60)
    return ended


@pytest.mark.usefixtures("slow")
def test_a_decoder_that_crashes_refuses_its_file_and_the_next_one_is_read():
    (ended,) = while_it_reads(lambda fork: fork.send_signal(signal.SIGKILL))
    assert isinstance(ended, InvalidFile) and UNREADABLE in str(ended)
    assert works()


@pytest.mark.fault(54)
def test_a_decoder_that_hangs_is_ended_by_its_deadline(large):
    with pytest.raises(InvalidFile, match=UNREADABLE):
        read(large, clock=0.05)
    assert works()


def test_a_decoder_that_needs_more_memory_than_it_may_have_is_refused(large):
    with pytest.raises(InvalidFile, match=UNREADABLE):
        read(large, memory=50 << 20)
    assert works()


def test_a_header_that_says_less_than_is_decoded_gains_nothing(large):
    """The limit follows from the size in the header: 12 bytes a pixel, twice, and some to spare."""
    with pytest.raises(InvalidFile, match=UNREADABLE):
        forked.read("image", io.BytesIO(large), "a.png", ImageInput(), memory.READ * 100)


def test_a_decoder_opens_and_reaches_nothing_and_sees_no_secrets(fresh, tmp_path):
    kept, target = tmp_path / "kept", tmp_path / "created"
    kept.write_text("here")
    fresh.setenv("DATABASE_URL", "postgres://secret")
    fresh.setenv("DJANGO_SECRET_KEY", "secret")
    code = HOSTILE.replace("TARGET", repr(str(target))).replace("KEPT", repr(str(kept)))
    fresh.setattr(forked, "COMMAND", [sys.executable, "-c", code])
    with pytest.raises(InvalidFile) as refused:
        decode.image(saved(photo(64)), "hostile.png")
    found = json.loads(refused.value.problem)
    denied = ("OSError", "PermissionError")
    assert all(found[what] in denied for what in ("open", "create", "socket", "pipe", "write")), found
    assert set(found["environment"].split()) == {
        *("PATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GLIBC_TUNABLES"),
        *({"LD_LIBRARY_PATH", "PYTHONPATH", "LC_CTYPE"} & set(found["environment"].split())),
    }
    assert not target.exists()
    has_landlock = subprocess.run(
        [sys.executable, "-c", "from segapp.confine import forbid_paths; raise SystemExit(not forbid_paths())"],
        cwd=PROJECT, check=False,
    ).returncode == 0  # fmt: skip
    if has_landlock:
        assert found["unlink"] == found["program"] == "PermissionError" and kept.read_text() == "here", found


def test_another_process_takes_over_when_the_one_that_waits_is_gone():
    assert works()
    first = forked._server.process
    first.kill()
    first.wait(10)  # until then its last fork may still answer
    assert works()
    assert forked._server.process is not first and first.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("slow")
def test_a_file_that_was_being_read_when_the_process_that_waits_ended_is_read_again():
    (ended,) = while_it_reads(lambda _: forked._server.process.kill())
    assert ended.values.shape == (64, 64, 3)


def test_a_fork_that_waits_and_dies_is_replaced():
    assert works()
    time.sleep(0.2)
    for fork in forks():
        fork.kill()
    assert works()


@pytest.mark.parametrize("command", [["/bin/false"], ["/nowhere/python"]])
def test_without_that_process_no_image_is_decoded_and_it_is_said(fresh, command):
    fresh.setattr(forked, "COMMAND", command)
    with pytest.raises(memory.DecodersBusy, match="cannot be decoded right now"):
        decode.image(saved(photo(64)), "a.png")
    fresh.undo()
    assert works()


def test_its_forks_end_with_the_process_that_asks(tmp_path):
    code = (
        "import io, os, signal\nfrom PIL import Image\nfrom segapp.imaging import decode, forked\n"
        "file = io.BytesIO()\nImage.new('RGB', (8, 8)).save(file, 'PNG')\ndecode.image(file, 'a')\n"
        "print(forked._server.process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_more_files_at_once_than_there_are_turns_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(forked, "PATIENCE", 0.05)
    taken = [forked._turns.acquire() for _ in range(forked.AT_ONCE)]
    try:
        with pytest.raises(memory.DecodersBusy):
            decode.image(saved(photo(64)), "a.png")
    finally:
        for _ in taken:
            forked._turns.release()
    assert works()


def test_many_files_at_once_are_all_read():
    files = [saved(Image.new("RGB", (40 + k, 30), (k, 2 * k, 3 * k))).getvalue() for k in range(24)]
    found: dict[int, Image.Image] = {}
    threads = [
        threading.Thread(target=lambda k=k: found.update({k: decode.image(io.BytesIO(files[k]), "a.png")}))
        for k in range(len(files))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {k: (found[k].size, found[k].getpixel((5, 5))) for k in found} == {
        k: ((40 + k, 30), (k, 2 * k, 3 * k)) for k in range(24)
    }


def examples() -> dict[str, bytes]:
    """Files of every format and mode."""
    turned = Image.Exif()
    turned[decode.ORIENTATION] = 6
    ramp = np.linspace(0, 4000, 64 * 48).astype(np.uint16).reshape(48, 64)
    plain, indexed = photo(96), shapes([0, 1, 2]).convert("P")
    indexed.putpalette([7, 9, 200, 255, 0, 0, 0, 255, 0])
    cut = saved(photo(256), "JPEG").getvalue()
    return {
        **{f"{mode}.png": saved(plain.convert(mode)).getvalue() for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
        **{f"plain.{kind.lower()}": saved(plain, kind).getvalue() for kind in ("JPEG", "WEBP", "AVIF", "GIF", "BMP")},
        "alpha.webp": saved(plain.convert("RGBA"), "WEBP", lossless=True).getvalue(),
        "deep.png": saved(Image.fromarray(ramp)).getvalue(),
        "inks.jpg": saved(plain.convert("CMYK"), "JPEG").getvalue(),
        "grey.jpg": saved(plain.convert("L"), "JPEG", dpi=(300, 300)).getvalue(),
        "turned.jpg": saved(plain.crop((0, 0, 96, 60)), "JPEG", exif=turned).getvalue(),
        "turned.png": saved(plain.crop((0, 0, 96, 60)), "PNG", exif=turned).getvalue(),
        "odd-exif.jpg": saved(plain, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(30)).getvalue(),
        "phone.jpg": saved(plain, "MPO", save_all=True, append_images=[plain]).getvalue(),
        "moving.png": saved(plain, "PNG", save_all=True, append_images=[plain.rotate(90)]).getvalue(),
        "profile.png": saved(plain, "PNG", icc_profile=ICC, dpi=(300, 300)).getvalue(),
        "profile.jpg": saved(plain, "JPEG", icc_profile=ICC, comment="ä").getvalue(),
        "indexed.png": saved(indexed).getvalue(),
        "clear.png": saved(indexed, transparency=0).getvalue(),
        "indexed.gif": saved(indexed, "GIF", transparency=0).getvalue(),
        "cut.jpg": cut[: len(cut) // 2],
        "cut.png": saved(plain).getvalue()[:2000],
        "cut.avif": saved(plain, "AVIF").getvalue()[:300],
        "none.webp": b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
        "none.png": b"no image",
    }


def told(reader, content: bytes):
    try:
        found = reader(io.BytesIO(content))
    except InvalidFile as refused:
        return str(refused)
    values = np.asarray(found.values)
    said = (found.layout, found.turn, found.notes, found.deep, found.kind, found.lossy, found.palette, found.size)
    return values.dtype, values.shape, values.tobytes(), said, found.as_stored


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", examples())
def test_it_reads_exactly_what_it_would_read_in_this_process(name):
    content = examples()[name]
    ways = {"image": lambda file: pillow.image(file, name, ImageInput()), "mask": lambda file: pillow.mask(file, name)}
    for what, here in ways.items():
        apart = told(lambda file, what=what: forked.read(what, file, name, ImageInput(), 10**6), content)
        assert apart == told(here, content), what


def test_nothing_is_left_to_be_imported_when_a_file_is_read(tmp_path):
    """A fork can open no file, so it could import nothing."""
    for name, content in examples().items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import pathlib, sys\nfrom segapp.imaging.readers import fork_server, read\nfork_server.prepare()\n"
        "before = set(sys.modules)\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    for what in ('image', 'mask', 'grey', 'values', 'original'):\n"
        "        order = {'reader': 'pillow', 'what': what, 'name': path.name, 'choice': {}, 'most': 10**6}\n"
        "        read.answer(order, open(path, 'rb'))\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["a.png", "a.tif"])
def test_a_file_on_disk_is_read_without_moving_the_place_it_is_read_at(tmp_path, kind):
    path = tmp_path / kind
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    if kind == "a.png":
        Image.fromarray(pixels).save(path)
    else:
        path.write_bytes(tiff(pixels, photometric="rgb").getvalue())
    with open(path, "rb") as file:
        assert (np.asarray(decode.image(file, kind)) == pixels).all()
        file.seek(0)
        assert file.read() == path.read_bytes()


@pytest.mark.django_db
def test_the_site_refuses_the_file_that_ended_its_decoder_and_takes_the_next_one(alice, monkeypatch):
    monkeypatch.setattr(forked, "SPARE", -(20 << 20))
    monkeypatch.setattr(memory, "READ", 0)
    refused = alice.post("/api/segment", {"file": SimpleUploadedFile("bad.png", saved(photo(900)).getvalue())})
    assert refused.status_code == 422 and UNREADABLE in refused.content.decode()
    monkeypatch.undo()
    monkeypatch.setattr("segapp.api.views.WAIT_SECONDS", 0)
    taken = alice.post("/api/segment", {"file": SimpleUploadedFile("good.png", saved(photo(96)).getvalue())})
    assert taken["Location"], "it waits for a worker"


@pytest.mark.django_db
def test_the_site_says_that_it_cannot_decode_right_now(alice, fresh):
    fresh.setattr(forked, "COMMAND", ["/bin/false"])
    answer = alice.post("/api/segment", {"file": SimpleUploadedFile("good.png", saved(photo(96)).getvalue())})
    assert answer.status_code == 503 and int(answer["Retry-After"]) > 0
    assert "cannot be decoded right now" in answer.content.decode()


@pytest.mark.parametrize("name", ["RGB.png", "L.png", "P.png", "plain.jpeg", "grey.jpg"])
def test_what_was_stored_as_it_came_gives_the_same_pixels_again(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(examples()[name])
    assert (decode.stored(path) == np.asarray(Image.open(path).convert("RGB"))).all()
    with pytest.raises(FileNotFoundError):
        decode.stored(tmp_path / "gone.png")
