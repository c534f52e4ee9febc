"""The fine-tune page: what it shows, keeps and refuses, with and without htmx."""

import pytest

from registry.tests.test_services import make
from segapp.models import Example, State, TrainingRun
from segapp.services import runs
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.views.rows import HTMX, pairs, trained, upload


def text(response) -> str:
    return response.content.decode()


def drafts(visitor: str) -> list[str]:
    return [example.stem for example in Example.objects.filter(visitor=visitor, draft=True)]


def test_the_empty_page_states_the_limits_beforehand(alice):
    page = text(alice.get("/finetune/"))
    assert "1 to 50 pairs" in page and "200 MB" in page and "Try it with sample pictures" in page


def test_a_plain_post_stores_the_pairs_and_comes_back(alice, charlie):
    response = alice.post("/finetune/", pairs("one", "two"))
    assert (response.status_code, response["Location"]) == (302, "/finetune/")
    page = text(alice.get("/finetune/"))
    for example in Example.objects.filter(visitor=alice.visitor):
        assert f"/files/examples/{example.public_id}/overlay" in page
    assert "2 pairs" in page and "background" in page and "Train my model" in page
    assert drafts(charlie.visitor) == [] and "2 pairs" not in text(charlie.get("/finetune/"))


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
def test_what_does_not_fit_is_named_and_nothing_is_stored(alice, headers):
    sent = pairs("one", "two")
    sent["masks"].pop()
    response = alice.post("/finetune/", sent, headers=headers)
    assert response.status_code == 422
    assert "two.jpg" in text(response) and "has no mask" in text(response)
    assert drafts(alice.visitor) == []
    if headers:
        assert response["HX-Retarget"] == "#studio-problems", "the form keeps what was chosen"


def test_a_post_without_files_says_what_to_choose(alice):
    response = alice.post("/finetune/", {})
    assert response.status_code == 422 and "Choose pictures and their masks" in text(response)


def test_more_than_a_hundred_files_are_refused_in_words(alice):
    files = [upload(f"{k}.png", saved(photo(8))) for k in range(101)]
    response = alice.post("/finetune/", {"images": files}, headers=HTMX)
    assert response.status_code == 422 and "at most 100" in text(response)


def test_changes_in_the_class_table_stay_until_training(alice):
    alice.post("/finetune/", pairs("one", "two"))
    sent = {"name-0": "ground", "color-0": "#112233", "name-1": "disc", "color-1": "#44aa55"}
    response = alice.post("/finetune/classes/", sent, headers=HTMX)
    assert response.status_code == 200
    page = text(alice.get("/finetune/"))
    assert 'value="disc"' in page and 'value="#44aa55"' in page
    alice.post("/finetune/train/", {"name": "Discs", "effort": "quick"})
    run = TrainingRun.objects.get()
    assert run.name == "Discs"
    assert [(row["name"], row["color"]) for row in run.classes] == [("ground", "#112233"), ("disc", "#44aa55")]


def test_ignoring_every_class_is_refused_and_forgotten(alice):
    alice.post("/finetune/", pairs("one"))
    sent = {"name-0": "a", "ignore-0": "1", "name-1": "b", "ignore-1": "1"}
    response = alice.post("/finetune/classes/", sent, headers=HTMX)
    assert response.status_code == 422 and "Every class is ignored" in text(response)
    assert alice.get("/finetune/").status_code == 200
    assert alice.post("/finetune/train/", {}, headers=HTMX).status_code == 200


def test_training_without_pictures_is_refused(alice):
    response = alice.post("/finetune/train/", {}, headers=HTMX)
    assert response.status_code == 422 and "Upload pictures" in text(response)
    assert not TrainingRun.objects.exists()


def test_a_second_tab_is_shown_the_run_of_the_first(alice):
    alice.post("/finetune/", pairs("one"))
    alice.post("/finetune/train/", {"name": "First"})
    alice.post("/finetune/", pairs("two"))
    response = alice.post("/finetune/train/", {"name": "Second"}, headers=HTMX)
    run = TrainingRun.objects.get()
    assert run.name == "First"
    assert f"/finetune/runs/{run.public_id}/" in text(response) and "already in progress" in text(response)
    assert drafts(alice.visitor) == ["two"], "what was uploaded meanwhile waits"


def test_the_live_part_polls_while_the_run_goes_on(alice, charlie):
    run = TrainingRun.objects.create(
        visitor=alice.visitor, name="Live", state=State.RUNNING, progress=0.42, eta_seconds=12.3, losses=[0.9, 0.4],
        scores=[[0.4, 0.55]],
    )  # fmt: skip
    address = f"/finetune/runs/{run.public_id}/"
    response = alice.get(address, headers=HTMX)
    page = text(response)
    assert 'hx-trigger="every 1s"' in page and "42 %" in page and "about 12 s left" in page
    assert "Held-out score 0.55" in page and "Loss 0.40" in page and "<polyline" in page
    assert "HX-Trigger" not in response
    assert charlie.get(address, headers=HTMX).status_code == 404
    assert alice.get(address)["Location"] == "/finetune/", "a link to it leads to the page"


def test_the_end_stops_the_polling_and_tells_the_page_that_the_model_changed(alice):
    run = trained(make(alice.visitor, active=True))
    response = alice.get(f"/finetune/runs/{run.public_id}/", headers=HTMX)
    assert (response["HX-Retarget"], response["HX-Reswap"]) == ("#studio", "outerHTML")
    assert "model-changed" in response["HX-Trigger-After-Settle"]
    assert "every 1s" not in text(response)
    assert "is your model now" in text(response) and "mean IoU of 0.61" in text(response)
    assert f"/files/runs/{run.public_id}/heldout_0_custom.webp" in text(response)
    assert "Weakest: “disc” (0.31), seen in 2 pictures" in text(response)


def test_a_model_that_is_not_better_offers_the_base_at_once(alice):
    trained(make(alice.visitor, active=True), better=False)
    assert "Use the base model" in text(alice.get("/finetune/"))


@pytest.mark.parametrize(("sent", "asked"), [("true", "keep"), ("false", "discard")])
def test_a_running_run_is_asked_to_stop_by_its_owner_only(alice, charlie, sent, asked):
    run = TrainingRun.objects.create(visitor=alice.visitor, name="Live", state=State.RUNNING)
    address = f"/finetune/runs/{run.public_id}/stop/"
    assert charlie.post(address, {"keep": sent}).status_code == 404
    page = text(alice.post(address, {"keep": sent}, headers=HTMX))
    run.refresh_from_db()
    assert run.stop == asked
    assert ("Cancelling" if asked == "discard" else "Stopping, and keeping the best") in page


def test_a_cancelled_queued_run_leads_back_to_its_pictures(alice):
    alice.post("/finetune/", pairs("one"))
    alice.post("/finetune/train/", {})
    run = TrainingRun.objects.get()
    page = text(alice.post(f"/finetune/runs/{run.public_id}/stop/", {"keep": "false"}, headers=HTMX))
    assert "was cancelled" in page and "Go back to these pictures" in page and "every 1s" not in page
    alice.post(f"/finetune/runs/{run.public_id}/again/")
    assert drafts(alice.visitor) == ["one"]


def test_a_failed_run_says_why_and_what_is_kept(alice):
    TrainingRun.objects.create(
        visitor=alice.visitor, name="Broken", state=State.FAILED, message="The disk is full. Free some space."
    )
    page = text(alice.get("/finetune/"))
    assert "did not finish" in page and "The disk is full. Free some space." in page and "are kept" in page


def test_a_queued_run_says_how_many_are_before_it(alice, charlie):
    TrainingRun.objects.create(visitor=charlie.visitor, name="Before", state=State.RUNNING)
    TrainingRun.objects.create(visitor=alice.visitor, name="Mine")
    assert "1 training before yours" in text(alice.get("/finetune/"))


def test_one_pair_is_removed_by_its_owner_only(alice, charlie):
    alice.post("/finetune/", pairs("one", "two"))
    example = Example.objects.get(stem="one")
    charlie.post(f"/finetune/examples/{example.public_id}/remove/")
    assert drafts(alice.visitor) == ["one", "two"]
    alice.post(f"/finetune/examples/{example.public_id}/remove/")
    assert drafts(alice.visitor) == ["two"]
    alice.post("/finetune/clear/")
    assert drafts(alice.visitor) == [] and not example.folder.exists()


def test_the_samples_come_with_names_for_their_classes(alice):
    alice.post("/finetune/samples/")
    page = text(alice.get("/finetune/"))
    assert "6 pairs" in page and all(f'value="{name}"' in page for name in ("soil", "leaf", "spot"))


def test_names_with_markup_are_shown_as_text(alice):
    alice.post("/finetune/", pairs("<img src=x onerror=alert(1)>"))
    page = text(alice.get("/finetune/"))
    assert "<img src=x" not in page and "&lt;img src=x" in page


def test_the_newest_run_is_shown_when_several_have_ended(alice):
    trained(make(alice.visitor))
    newest = trained(make(alice.visitor, active=True))
    assert runs.current(alice.visitor) == newest
    assert newest.public_id in text(alice.get("/finetune/"))
