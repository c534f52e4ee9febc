"""What can be done with versions beyond activating: roll back, files for elsewhere, comparing, deleting everything."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from registry import services as registry
from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import Analysis, Example, Export, State, TransferCode
from segapp.services import analyses, transfer
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.views.rows import HTMX, analyzed, trained
from segapp.visitors import COOKIE

ROWS = [
    {"id": 1, "name": "disc", "iou": 0.31, "dice": 0.5, "base_iou": None, "images": 2},
    {"id": 2, "name": "rim", "iou": None, "dice": None, "base_iou": None, "images": 0},
]


def text(response) -> str:
    return response.content.decode()


def named(visitor: str, name: str, **values) -> UserModel:
    model = make(visitor, **values)
    UserModel.objects.filter(pk=model.pk).update(name=name)
    model.refresh_from_db()
    return model


def card_of(page: str, model: UserModel) -> str:
    return (
        page.partition(f'id="model-{model.public_id}"')[2].partition("</li>\n\n")[0].partition('<li class="version')[0]
    )


# --- versions -------------------------------------------------------------------------------------------------


def test_older_versions_are_rolled_back_to_and_newer_ones_activated(alice):
    old = named(alice.visitor, "Old")
    middle = named(alice.visitor, "Middle", active=True, parent=old)
    new = named(alice.visitor, "New")
    page = text(alice.get("/models/"))
    assert "Roll back to this" in card_of(page, old) and "Roll back" not in card_of(page, new)
    assert ">Activate<" in card_of(page, new) and "“Old”" in card_of(page, middle)
    alice.post(f"/models/{old.public_id}/activate/")
    assert registry.resolve(alice.visitor).model == old


def test_undoing_an_activation_leads_to_what_answered_before(alice):
    old, new = make(alice.visitor), make(alice.visitor, active=True)
    alice.post(f"/models/{old.public_id}/activate/")
    messages = text(alice.get("/models/")).partition('id="messages"')[2][:600]
    assert f'action="/models/{new.public_id}/activate/"' in messages


def test_a_version_has_a_page_with_scores_images_and_its_line(alice, charlie):
    root, parent = named(alice.visitor, "Root"), named(alice.visitor, "Parent")
    UserModel.objects.filter(pk=parent.pk).update(parent=root)
    model = named(alice.visitor, "Child", parent=parent, recipe={"seed": 7}, metrics={"per_class": ROWS})
    run = trained(model)
    UserModel.objects.filter(pk=model.pk).update(run_id=run.public_id)
    example = Example.objects.create(visitor=alice.visitor, stem="pic", width=9, height=9, mask_kind="index")
    run.examples.add(example)
    page = text(alice.get(f"/models/{model.public_id}/"))
    assert "“Parent”" in page and page.index("“Parent”") < page.index("“Root”") and "<dt>seed</dt><dd>7</dd>" in page
    assert f"/files/examples/{example.public_id}/overlay" in page and "heldout_0_custom.webp" in page
    assert 'IoU of disc"' in page and "0.31" in page and "–" in page
    assert "Child" in text(alice.get(f"/models/{parent.public_id}/")), "and a parent names its children"
    assert charlie.get(f"/models/{model.public_id}/").status_code == 404


def test_a_version_without_run_or_score_has_a_page_too(alice):
    page = text(alice.get(f"/models/{make(alice.visitor).public_id}/"))
    assert "was not scored" in page and "not kept here any more" in page


def test_the_page_shows_storage_limit_and_all_that_is_kept(alice, settings):
    make(alice.visitor)
    analyzed(alice.visitor)
    page = text(alice.get("/models/"))
    assert "Storage used" in page and "2.0\xa0GB" in page and "Everything this server stores for you" in page
    assert "Analyzed images and their masks" in page


# --- files for elsewhere ----------------------------------------------------------------------------------------


def test_a_file_is_asked_for_watched_and_downloaded(alice):
    model = make(alice.visitor)
    address = f"/models/{model.public_id}/export/onnx/"
    line = text(alice.post(address, headers=HTMX))
    assert "hx-trigger" in line and "Waiting for a worker" in line and "<html" not in line
    row = Export.objects.get()
    assert (row.visitor, row.model, row.format) == (alice.visitor, model, "onnx")
    assert alice.get(f"{address}file/").status_code == 404
    row.folder.mkdir(parents=True)
    row.path.write_bytes(b"graph")
    Export.objects.update(state=State.DONE, size_bytes=5)
    line = text(alice.get(address, headers=HTMX))
    assert f'href="{address}file/"' in line and "hx-trigger" not in line
    response = alice.get(f"{address}file/")
    assert b"".join(response.streaming_content) == b"graph"
    assert response["Content-Disposition"] == f'attachment; filename="{model.key}.onnx"'


def test_without_script_the_page_itself_waits(alice):
    model = make(alice.visitor)
    response = alice.post(f"/models/{model.public_id}/export/pth/")
    assert response["Location"] == f"/models/?open={model.public_id}&panel=download#model-{model.public_id}"
    page = text(alice.get(response["Location"]))
    assert '<noscript><meta http-equiv="refresh"' in page and "Waiting for a worker" in page
    Export.objects.update(state=State.FAILED, message="It could not be written.")
    page = text(alice.get(response["Location"]))
    assert "http-equiv" not in page and "It could not be written." in page and "Make it" in page


def test_two_clicks_are_one_export(alice):
    model = make(alice.visitor)
    for _ in range(2):
        alice.post(f"/models/{model.public_id}/export/pth/", headers=HTMX)
    assert Export.objects.count() == 1


def test_exports_are_the_owners(alice, charlie):
    model = make(alice.visitor)
    address = f"/models/{model.public_id}/export/pth/"
    alice.post(address)
    row = Export.objects.get()
    row.folder.mkdir(parents=True)
    row.path.write_bytes(b"weights")
    Export.objects.update(state=State.DONE)
    assert alice.get(f"{address}file/").status_code == 200
    for response in (charlie.get(address), charlie.post(address), charlie.get(f"{address}file/")):
        assert response.status_code == 404
    assert alice.post(f"/models/{model.public_id}/export/exe/").status_code == 404
    alice.post(f"/models/{model.public_id}/delete/")
    assert alice.get(f"{address}file/").status_code == 404


def test_the_card_comes_for_people_and_for_programs(alice, charlie):
    model = named(alice.visitor, "Spots")
    readme = alice.get(f"/models/{model.public_id}/download/readme/")
    assert text(readme).startswith("# Spots") and readme["Content-Type"].startswith("text/markdown")
    assert json.loads(alice.get(f"/models/{model.public_id}/download/card/").content)["name"] == "Spots"
    assert charlie.get(f"/models/{model.public_id}/download/readme/").status_code == 404


# --- comparing ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(analyses, "wait", lambda analysis, seconds: analysis)


def image() -> SimpleUploadedFile:
    return SimpleUploadedFile("leaf.png", saved(photo(64)).getvalue())


def test_the_form_has_every_version_and_the_base_and_knows_where_one_came_from(alice):
    old, new = named(alice.visitor, "Old"), named(alice.visitor, "New", active=True)
    page = text(alice.get(f"/models/compare/?right={old.public_id}"))
    assert f'<option value="{old.public_id}" selected>Old' in page and f'value="{new.public_id}"' in page
    assert '<option value="base" selected>' in page and "New (active)" in page
    assert "nothing to compare" in text(alice.__class__().get("/models/compare/"))


def test_two_versions_answer_for_one_upload(alice, no_waiting):
    old, new = make(alice.visitor), make(alice.visitor, active=True)
    sent = {"left": old.public_id, "right": new.public_id, "file": image()}
    response = alice.post("/models/compare/", sent)
    first, second = Analysis.objects.order_by("pk")
    assert response["Location"] == f"/analyze/{second.public_id}/compare/?with={first.public_id}"
    assert (first.model, second.model) == (old, new)
    assert "is running" in text(alice.get(response["Location"]))


def test_the_base_can_stand_on_either_side_even_while_a_version_is_active(alice, no_waiting):
    model = make(alice.visitor, active=True)
    for left, right in (("base", model.public_id), (model.public_id, "base")):
        Analysis.objects.all().delete()
        alice.post("/models/compare/", {"left": left, "right": right, "source": "sample"})
        answered = {row.model for row in Analysis.objects.all()}
        assert answered == {None, model}
        assert registry.resolve(alice.visitor).model == model


def test_a_result_that_is_there_is_not_made_again(alice, no_waiting):
    model, other = make(alice.visitor), make(alice.visitor)
    done = analyzed(alice.visitor, model=model, model_key=model.key, model_sha256=model.sha256)
    sent = {"left": model.public_id, "right": other.public_id, "source": done.public_id}
    response = alice.post("/models/compare/", sent)
    made = Analysis.objects.exclude(pk=done.pk).get()
    assert made.model == other
    assert response["Location"] == f"/analyze/{made.public_id}/compare/?with={done.public_id}"


def test_a_comparison_never_names_a_version_that_did_not_answer(alice):
    lost = named(alice.visitor, "Lost")
    left, right = analyzed(alice.visitor, model=lost), analyzed(alice.visitor)
    page = text(alice.get(f"/analyze/{right.public_id}/compare/?with={left.public_id}"))
    assert '<span class="corner left">EfficientNet-Lite0</span>' in page and "Lost" not in page.partition("<main")[2]


def test_a_chosen_result_wins_over_a_file_that_was_chosen_before(alice, no_waiting):
    model, done = make(alice.visitor), analyzed(alice.visitor, title="earlier.jpg")
    sent = {"left": "base", "right": model.public_id, "source": done.public_id, "file": image()}
    alice.post("/models/compare/", sent)
    assert {row.title for row in Analysis.objects.all()} == {"earlier.jpg"}


def test_what_is_wrong_is_said_and_nothing_runs(alice, no_waiting):
    model, lost = make(alice.visitor), make(alice.visitor)
    for sent, words in (
        ({"left": "base", "right": "base", "source": "sample"}, "the same model twice"),
        ({"left": "base", "right": model.public_id}, "No image was chosen"),
        ({"left": "base", "right": model.public_id, "source": "upload"}, "No image was chosen"),
        ({"source": "sample"}, "Choose two models"),
        ({"left": "base", "right": model.public_id, "file": SimpleUploadedFile("x.png", b"?")}, "x.png"),
    ):
        response = alice.post("/models/compare/", sent)
        assert response.status_code == 422 and words in text(response), words
    lost.path.unlink()
    response = alice.post("/models/compare/", {"left": "base", "right": lost.public_id, "source": "sample"})
    assert response.status_code == 422 and "gone or damaged" in text(response)
    assert not Analysis.objects.exists()


def test_anothers_model_or_result_cannot_be_compared(alice, charlie, no_waiting):
    hers, result, his = make(alice.visitor), analyzed(alice.visitor), make(charlie.visitor)
    for sent in (
        {"left": "base", "right": hers.public_id, "source": "sample"},
        {"left": "base", "right": his.public_id, "source": result.public_id},
    ):
        assert charlie.post("/models/compare/", sent).status_code == 404
    assert Analysis.objects.count() == 1


# --- everything of mine -------------------------------------------------------------------------------------------


def test_deleting_everything_asks_first_and_says_what_goes(alice):
    make(alice.visitor)
    page = text(alice.get("/models/erase/"))
    assert "Model versions" in page and "cannot be restored" in page
    assert UserModel.objects.count() == 1
    assert "nothing to delete" in text(alice.__class__().get("/models/erase/"))


def test_deleting_everything_makes_a_new_visitor_and_the_browser_forget(alice, charlie):
    hers, his = make(alice.visitor, active=True), make(charlie.visitor)
    transfer.make(alice.visitor)
    page = text(alice.post("/models/erase/"))
    assert "data-forget-everything" in page and 'data-model-id=""' in page and 'data-restore-token=""' in page
    assert not hers.path.exists() and list(UserModel.objects.all()) == [his] and not TransferCode.objects.exists()
    assert alice.cookies[COOKIE].value.split(":")[0] != alice.visitor
    assert "data-forget-everything" not in text(alice.get("/models/erase/")), "a link must not make browsers forget"
