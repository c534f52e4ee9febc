"""The fine-tune page: what it shows, keeps and refuses, with and without htmx."""

import pytest

from registry.tests.test_services import make
from segapp.models import Example, State, TrainingRun, VideoJob
from segapp.services import runs
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.views.rows import HTMX, pairs, trained, upload


def text(response) -> str:
    return response.content.decode()


def drafts(visitor: str) -> list[str]:
    return [example.stem for example in Example.objects.filter(visitor=visitor, draft=True)]


@pytest.mark.fault(22)
def test_the_empty_page_states_the_limits_beforehand(alice):
    page = text(alice.get("/finetune/"))
    assert "1 to 50 pairs" in page and "200 MB" in page and "Try it with sample images" in page


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
    assert response.status_code == 422 and "Choose images and their masks" in text(response)


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


def test_what_is_warned_about_follows_the_class_table(alice):
    """A name that was given stands in the warning, and an ignored class is warned about no more."""
    sent = pairs("one", "two")
    sent["masks"][1] = upload("two.png", saved(shapes([0, 1, 2])))
    sent["masks"][0] = upload("one.png", saved(shapes([0, 1])))
    alice.post("/finetune/", sent)
    page = text(alice.get("/finetune/"))
    assert "“class 2” is in one image only" in page and "The only one with “class 2”" in page
    names = {"name-0": "floor", "name-1": "disc", "name-2": "box"}
    page = text(alice.post("/finetune/classes/", names, headers=HTMX))
    assert "“box” is in one image only" in page and "“class 2”" not in page
    page = text(alice.post("/finetune/classes/", {**names, "ignore-2": "1"}, headers=HTMX))
    assert "one image only" not in page and "The only one" not in page


@pytest.mark.fault(17)
def test_an_image_whose_mask_is_empty_says_so_on_itself(alice):
    sent = pairs("one", "two")
    sent["masks"][1] = upload("two.png", saved(shapes([0, 0])))
    alice.post("/finetune/", sent)
    page = text(alice.get("/finetune/"))
    assert page.count("Background only") == 1
    assert "two: the mask is background only (100 %)." in page


def test_masks_that_do_not_go_together_are_kept_and_the_one_to_fix_says_so(alice):
    alice.post("/finetune/", pairs("one"))
    sent = pairs("two", "three")
    sent["masks"][0] = upload("two.png", saved(shapes([0, 3, 7])))
    sent["masks"][1] = upload("three.png", saved(shapes(["#000000", "#ff0000"], "RGB")))
    alice.post("/finetune/", sent)
    page = text(alice.get("/finetune/"))
    assert "cannot be read together yet" in page and "Nothing was stored" not in page
    assert page.count('class="thumb faulty"') == 1 and "Save all masks of a set in the same way" in page
    assert "train-form" not in page and "once the problems above are fixed" in page
    for example in Example.objects.all():
        shown = alice.get(f"/files/examples/{example.public_id}/overlay")
        assert shown.status_code == 200, "the image alone"
    faulty = Example.objects.get(stem="two")
    page = text(alice.post(f"/finetune/examples/{faulty.public_id}/remove/", headers=HTMX))
    assert "train-form" in page and "faulty" not in page


@pytest.mark.fault(15)
def test_255_is_a_class_or_ignored_as_the_visitor_says(alice):
    sent = pairs("one")
    sent["masks"] = [upload("one.png", saved(shapes([0, 1, 255])))]
    alice.post("/finetune/", sent)
    page = text(alice.get("/finetune/"))
    assert (
        "255 is read as “ignore”" in page and 'name="ignore-255" value="1" aria-label="Ignore ignore" checked' in page
    )
    page = text(alice.post("/finetune/classes/", {"name-255": "box"}, headers=HTMX))
    assert 'value="box"' in page and 'name="ignore-2" value="1" aria-label="Ignore box">' in page
    alice.post("/finetune/train/", {})
    assert [row["name"] for row in TrainingRun.objects.get().classes] == ["background", "object", "box"]


def test_training_again_starts_from_the_names_that_were_given(alice):
    alice.post("/finetune/", pairs("one"))
    alice.post("/finetune/train/", {"name-0": "ground", "name-1": "disc", "color-1": "#44aa55"})
    run = TrainingRun.objects.get()
    alice.post(f"/finetune/runs/{run.public_id}/stop/", {"keep": "false"})
    alice.post(f"/finetune/runs/{run.public_id}/again/")
    page = text(alice.get("/finetune/"))
    assert 'value="ground"' in page and 'value="disc"' in page and 'value="#44aa55"' in page


def test_names_go_with_the_last_image_that_had_them(alice):
    alice.post("/finetune/samples/")
    for example in Example.objects.filter(visitor=alice.visitor):
        alice.post(f"/finetune/examples/{example.public_id}/remove/")
    alice.post("/finetune/", pairs("one"))
    page = text(alice.get("/finetune/"))
    assert "leaf" not in page and 'value="object"' in page


def test_ignoring_every_class_is_refused_and_forgotten(alice):
    alice.post("/finetune/", pairs("one"))
    sent = {"name-0": "a", "ignore-0": "1", "name-1": "b", "ignore-1": "1"}
    response = alice.post("/finetune/classes/", sent, headers=HTMX)
    assert response.status_code == 422 and "Every class is ignored" in text(response)
    assert alice.get("/finetune/").status_code == 200
    assert alice.post("/finetune/train/", {}, headers=HTMX).status_code == 200


def test_training_without_images_is_refused(alice):
    response = alice.post("/finetune/train/", {}, headers=HTMX)
    assert response.status_code == 422 and "Upload images" in text(response)
    assert not TrainingRun.objects.exists()


@pytest.mark.fault(39)
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
    assert "HX-Trigger" not in response and response["HX-Retarget"] == "#run-live"
    figures = alice.get(f"{address}?shown=running-", headers=HTMX)
    assert "about 12 s left" in text(figures) and "HX-Retarget" not in figures
    assert "<button" not in text(figures), "what can be clicked is not exchanged under the pointer"
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
    words = "Better than the base model on 1 of 1 class; weakest: “disc” (0.31), seen in 2 images."
    assert words in text(response)
    assert "Add 2 or more images that show “disc”" in text(response)


def test_a_run_that_waits_for_its_own_claim_does_not_wait_for_itself(alice):
    run = TrainingRun.objects.create(visitor=alice.visitor, name="Mine")
    TrainingRun.objects.claim(run.pk, "worker", "token")
    assert run.state == State.QUEUED and run.queue_position() == 0


def test_the_chart_shows_what_the_score_is_held_to(alice):
    TrainingRun.objects.create(
        visitor=alice.visitor, name="Live", state=State.RUNNING, metrics={"comparison": {"kind": "base", "miou": 0.25}}
    )
    page = text(alice.get("/finetune/"))
    assert 'd="M0 75.0H100"' in page and "The base model has 0.25" in page


def test_the_base_is_looked_at_even_where_it_knows_other_classes(alice):
    found = {"index": 0, "stem": "one", "base": True, "knows": [{"name": "sky", "color": "#0000ff"}]}
    trained(make(alice.visitor), comparison={"kind": "trivial", "miou": 0.2}, held_out_images=[found])
    page = text(alice.get("/finetune/"))
    assert 'name="left-side" value="base" checked' in page and "sky" in page and "not scored" in page


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


def test_a_cancelled_queued_run_leads_back_to_its_images(alice):
    alice.post("/finetune/", pairs("one"))
    alice.post("/finetune/train/", {})
    run = TrainingRun.objects.get()
    page = text(alice.post(f"/finetune/runs/{run.public_id}/stop/", {"keep": "false"}, headers=HTMX))
    assert "was cancelled" in page and "Back to these images" in page and "every 1s" not in page
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
    VideoJob.objects.create(visitor=charlie.visitor, title="clip", state=State.RUNNING)
    assert "1 training and 1 video before yours" in text(alice.get("/finetune/"))


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
