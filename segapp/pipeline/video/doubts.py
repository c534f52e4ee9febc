"""The moments of a video at which its masks are most doubtful, some time apart. Bounded in memory."""

MAX_MOMENTS = 5
MIN_APART = 0.5  # seconds between two moments
APART_SHARE = 0.04  # of the video's length between two moments, where that is more
MIN_DOUBT = 0.05  # answers that are this certain along their borders need no review

Moment = tuple[float, float, int]  # seconds, doubt, frame


class Doubts:
    """The most doubtful frame of each short piece of a video of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._bin = max(MIN_APART, APART_SHARE * seconds) / 2
        self._bins: dict[int, Moment] = {}

    def add(self, at: float, doubt: float, frame: int) -> None:
        """A predicted frame."""
        key = int(at / self._bin)
        if key not in self._bins or doubt > self._bins[key][1]:
            self._bins[key] = (round(at, 4), doubt, frame)

    def moments(self) -> list[Moment]:
        """At most MAX_MOMENTS, the most doubtful first."""
        found: list[Moment] = []
        for one in sorted(self._bins.values(), key=lambda moment: (-moment[1], moment[0])):
            if one[1] < MIN_DOUBT or len(found) == MAX_MOMENTS:
                break
            if all(abs(one[0] - other[0]) >= 2 * self._bin for other in found):
                found.append(one)
        return found
