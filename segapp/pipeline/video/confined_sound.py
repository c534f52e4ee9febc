"""Reading a video's sound in a process of its own: what a file does to its demuxer or decoder ends that process only.

The process is told which file to read, limits itself and opens it: it may read this file and no other. It answers with
a description of the sound and with AAC packets, each checked here before anything is made of it. Knows nothing of
networks, masks or rows.
"""

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av.error

from segapp.confine import ResourceLimits, confine, forbid_paths, started
from segapp.pipeline.video.demux import InvalidVideo, import_all_parts, opened
from segapp.pipeline.video.sound import SoundPacket, Track, has_header, sound_of
from segapp.supervisor import die_with_parent

COMMAND = [sys.executable, "-m", "segapp.pipeline.video.confined_sound"]
RESOURCES = ResourceLimits(memory=2 << 30, processor=3600)
SECONDS = 300.0  # to wait for the process at most, all waits together, beside the length of the sound
LOOK_SECONDS = 1.0  # between two calls of `look` while nothing comes

DESCRIBED, PACKET, END, FAILED = b"D", b"P", b"E", b"F"
TRACK = struct.Struct("<IHIIQ")  # Track: rate, channels, tick's numerator and denominator, bit rate; then extradata
TIMES = struct.Struct("<qq")  # of a packet: pts, duration; then its bytes
MAX_EXTRADATA = 1024  # bytes
MAX_PACKET = 1 << 16  # bytes; AAC has 768 a channel at most, and a socket's message about 200 000
MAX_RATE, MAX_CHANNELS, MAX_TICKS, MAX_BIT_RATE = 192_000, 64, (1 << 31) - 1, 10**9
MAX_PACKETS = 1000  # a second; AAC has 200 at most
BYTES = 64_000  # a second that an encoder may add to what the file has
MARGIN = 60.0  # seconds by which sound may begin before or end behind what was asked for


class SoundFailed(Exception):
    """The source's sound can be neither copied nor encoded again."""


class SoundProcess:
    """A process that reads the sound of one video. Used once; `close` ends it at any time.

    `look` is called about once a second while nothing comes from the process, and may raise.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        """Raises SoundFailed where no process can be started."""
        self._look = look
        self._waited = self._length = 0.0
        self._most_bytes = 0
        try:
            self._process, self._socket = started([*COMMAND, str(os.getpid())])
        except OSError as error:
            raise SoundFailed("No process could be started.") from error
        self._socket.settimeout(LOOK_SECONDS)

    def track(self, path: Path, begin: float, until: float) -> Track:
        """What the sound is, `begin` to `until` seconds of the file's own time. Raises SoundFailed and as `look`."""
        self._length = max(0.0, until - begin)
        order = {"path": str(path.resolve()), "begin": begin, "until": until, "resources": asdict(RESOURCES)}
        try:
            self._most_bytes = path.stat().st_size + int(BYTES * (self._length + MARGIN))
            self._socket.send(json.dumps(order).encode())
        except OSError as error:
            raise SoundFailed("The process is gone.") from error
        kind, body = self._received()
        if kind != DESCRIBED:
            raise SoundFailed("The sound was not described.")
        return checked_track(body)

    def packets(self, track: Track) -> Iterator[SoundPacket]:
        """The packets of the track, as they are asked for. Raises SoundFailed and as `look`."""
        taken = size = 0
        last: int | None = None
        while True:
            kind, body = self._received()
            if kind == END and not body:
                return
            if kind != PACKET:
                raise SoundFailed("The sound broke off.")
            packet = checked_packet(body, track, self._length)
            taken, size = taken + 1, size + len(packet.data)
            if taken > MAX_PACKETS * (self._length + MARGIN) or size > self._most_bytes:
                raise SoundFailed("There is more sound than the video can have.")
            if last is None and has_header(packet.data):
                raise SoundFailed("A packet has a header.")  # which the muxer would parse
            if last is not None and packet.pts <= last:
                raise SoundFailed("Times do not rise.")
            last = packet.pts
            yield packet

    def _received(self) -> tuple[bytes, bytes]:
        """Kind and body of the next message."""
        while True:
            begun = time.monotonic()
            try:
                message = self._socket.recv(2 * MAX_PACKET)  # the rest of a longer one is cut off
            except TimeoutError:
                message = None
            except OSError as error:
                raise SoundFailed("The process is gone.") from error
            self._waited += time.monotonic() - begun
            if message is not None:
                return message[:1], message[1:]
            if self._waited > SECONDS + self._length:
                raise SoundFailed("The process is stuck.")
            self._look()

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


def checked_track(body: bytes) -> Track:
    """The track that a description names. Raises SoundFailed for what no AAC has."""
    if not TRACK.size <= len(body) <= TRACK.size + MAX_EXTRADATA:
        raise SoundFailed("The description has a wrong size.")
    rate, channels, numerator, denominator, bit_rate = TRACK.unpack_from(body)
    possible = (
        0 < rate <= MAX_RATE
        and 0 < channels <= MAX_CHANNELS
        and 0 < numerator <= denominator <= MAX_TICKS
        and bit_rate <= MAX_BIT_RATE
    )
    if not possible:
        raise SoundFailed("The description has impossible numbers.")
    return Track(rate, channels, Fraction(numerator, denominator), bit_rate, body[TRACK.size :])


def checked_packet(body: bytes, track: Track, length: float) -> SoundPacket:
    """The packet that a message holds, of a sound of `length` seconds. Raises SoundFailed for what none can be."""
    if not TIMES.size < len(body) <= TIMES.size + MAX_PACKET:
        raise SoundFailed("A packet has a wrong size.")
    pts, duration = TIMES.unpack_from(body)
    latest = (length + MARGIN) / track.tick
    if not -MARGIN / track.tick <= pts <= latest or not 0 <= duration <= latest:
        raise SoundFailed("A packet has impossible times.")
    return SoundPacket(pts, duration, body[TIMES.size :])


# --- in the process ---------------------------------------------------------------------------------------


def main() -> None:
    """Wait for an order, read, answer."""
    die_with_parent(int(sys.argv[1]))
    parent = socket.socket(fileno=0)
    import_all_parts()
    message = parent.recv(1 << 16)
    if not message:
        return
    order = json.loads(message)
    path = Path(order["path"])
    forbid_paths(path)
    confine(ResourceLimits(**order["resources"]))
    try:
        send_all(parent, path, order["begin"], order["until"])
    except (InvalidVideo, MemoryError, av.error.FFmpegError, ValueError, AttributeError, IndexError, struct.error):
        parent.send(FAILED)
    else:
        parent.send(END)


def send_all(parent: socket.socket, path: Path, begin: float, until: float) -> None:
    with opened(path) as container:
        track, packets = sound_of(container, begin, until)
        tick, bit_rate = track.tick, min(max(track.bit_rate, 0), MAX_BIT_RATE)
        numbers = TRACK.pack(track.rate, track.channels, tick.numerator, tick.denominator, bit_rate)
        parent.send(DESCRIBED + numbers + track.extradata)
        for packet in packets:
            if len(packet.data) > MAX_PACKET:
                raise ValueError("A packet is too large.")
            parent.send(PACKET + TIMES.pack(packet.pts, packet.duration) + packet.data)


if __name__ == "__main__":
    main()
