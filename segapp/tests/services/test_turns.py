"""Fair shares: one visitor's hundred jobs delay another's first by no more than the one that is being done."""

import pytest

from segapp.models import Analysis, Batch, Export, State, TrainingRun, VideoJob
from segapp.worker import claims, inference, turns

pytestmark = pytest.mark.django_db
ALICE, CHARLIE, DORA = "a" * 32, "c" * 32, "d" * 32


@pytest.fixture(autouse=True)
def fresh_worker(monkeypatch):
    monkeypatch.setattr(turns, "_served", {})
    monkeypatch.setattr(turns, "_now", 0.0)


def videos(visitor: str, count: int) -> list[VideoJob]:
    return [VideoJob.objects.create(visitor=visitor, title=f"{number}") for number in range(count)]


def test_a_hundred_videos_delay_anothers_first_by_one_at_most():
    hers = videos(ALICE, 100)
    first = claims.by_turn(VideoJob.objects.all(), hers[0].pk)
    (his,) = videos(CHARLIE, 1)
    second = claims.by_turn(VideoJob.objects.all(), hers[1].pk)
    third = claims.by_turn(VideoJob.objects.all(), his.pk)
    assert [first, second, third] == [hers[0], his, hers[1]]


def test_visitors_who_keep_sending_take_turns():
    hers, his = videos(ALICE, 3), videos(CHARLIE, 3)
    order = [claims.by_turn(VideoJob.objects.all(), 0) for _ in range(6)]
    assert order == [hers[0], his[0], hers[1], his[1], hers[2], his[2]]


def test_of_one_visitor_the_oldest_goes_first_so_one_handed_back_keeps_its_place():
    hers = videos(ALICE, 3)
    begun = claims.by_turn(VideoJob.objects.all(), hers[2].pk)
    assert begun == hers[0]
    VideoJob.objects.hand_back(begun.pk, begun.lease)
    assert claims.by_turn(VideoJob.objects.all(), hers[2].pk) == hers[0]


def test_turns_are_taken_across_the_kinds_that_share_a_worker():
    """A message for Alice's batch comes first, but she has just had a video."""
    begun: list[tuple[str, int]] = []
    begin = {
        kind: lambda pk, kind=kind: begun.append((kind.__name__, pk)) for kind in (VideoJob, Batch, Export, Analysis)
    }
    videos(ALICE, 1)
    claims.by_turn(VideoJob.objects.all(), 0)
    batch = Batch.objects.create(visitor=ALICE, title="b", total=1)
    turns.take(Batch, batch.pk, begin)
    large = Analysis.objects.create(visitor=CHARLIE, title="l", width=9, height=9, windows=True)
    turns.take(Batch, batch.pk, begin)
    Analysis.objects.filter(pk=large.pk).update(state=State.DONE)
    turns.take(Batch, batch.pk, begin)
    assert begun == [("Batch", batch.pk), ("Analysis", 0), ("Batch", batch.pk)]


def test_a_batch_knows_that_somebody_else_waits():
    Batch.objects.create(visitor=ALICE, title="b", total=1)
    assert not turns.others_wait(ALICE)
    videos(CHARLIE, 1)
    assert turns.others_wait(ALICE) and turns.others_wait(CHARLIE)


@pytest.fixture
def answered(monkeypatch):
    """Whose images were answered, in order; nothing is computed."""
    order: list[str] = []

    def run(pk: int) -> None:
        row = Analysis.objects.get(pk=pk)
        turns.begun(row.visitor, row.passes)
        order.append(row.visitor)
        Analysis.objects.filter(pk=pk).update(state=State.DONE)

    monkeypatch.setattr(inference, "_run", run)
    return order


def images(visitor: str, count: int, passes: int = 1) -> list[int]:
    values = {"visitor": visitor, "title": "p", "width": 9, "height": 9, "passes": passes}
    return [Analysis.objects.create(**values).pk for _ in range(count)]


def test_images_take_turns_and_every_message_answers_one(answered):
    messages = images(ALICE, 5)
    inference.run(messages[0])
    messages += images(CHARLIE, 2) + images(DORA, 1)
    for pk in messages[1:]:
        inference.run(pk)
    assert answered == [ALICE, CHARLIE, DORA, ALICE, CHARLIE, ALICE, ALICE, ALICE]
    assert not Analysis.objects.exclude(state=State.DONE).exists()


def test_turns_are_taken_by_cost_and_nobody_saves_any_up(answered):
    messages = images(ALICE, 2, passes=5) + images(CHARLIE, 8)
    for pk in messages[:8]:
        inference.run(pk)
    assert answered == [ALICE, *[CHARLIE] * 5, ALICE, CHARLIE], "five of one pass are as much as one of five"
    messages += images(DORA, 3)
    for pk in messages[8:]:
        inference.run(pk)
    assert answered[8:] == [DORA, CHARLIE, DORA, CHARLIE, DORA], "not all of hers first, though she has had nothing yet"


def test_a_doubled_message_answers_nothing(answered):
    (pk,) = images(ALICE, 1)
    inference.run(pk)
    inference.run(pk)
    assert answered == [ALICE]


def test_trainings_stay_in_the_order_in_which_they_came():
    """A visitor has one at a time, so first come, first served is fair."""
    runs = [TrainingRun.objects.create(visitor=who, name="r") for who in (ALICE, CHARLIE)]
    assert [run.queue_position() for run in runs] == [0, 1]
