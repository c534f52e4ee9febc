"""Two visitors walk every address; nothing of the first reaches the second, through no view and no cache."""

import re
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from registry.tests.test_services import make
from segapp.models import Batch, Example, Export, Painting, TrainingRun, TrainingSet, VideoJob
from segapp.services import painting, sharing
from segapp.tests.imaging.drawing import photo
from segapp.tests.views.rows import analyzed, trained

pytestmark = pytest.mark.django_db
NAME = "Alices-secret-name"
OTHERS = ("admin/", "static/", "metrics")


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def addresses(patterns, before=""):
    for one in patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from addresses(one.url_patterns, route)
        elif isinstance(one, URLPattern):
            yield route


def filled(route: str, public_id: str) -> str:
    route = re.sub(r"<int:\w+>", "1", route)
    for name, value in (("kind", "image"), ("format", "pth"), ("name", "preview.webp"), ("key", "view")):
        route = route.replace(f"<str:{name}>", value)
    return "/" + re.sub(r"<\w+:\w+>|<\w+>", public_id, route)


def owned_by(visitor: str) -> list[str]:
    """One of everything of the visitor's; their public ids."""
    model = make(visitor, active=True)
    type(model).objects.filter(pk=model.pk).update(name=NAME)
    run, analysis = trained(model), analyzed(visitor, title=f"{NAME}.jpg", model=model)
    example = Example.objects.create(visitor=visitor, stem=NAME, width=96, height=96, mask_kind="painted")
    example.folder.mkdir(parents=True)
    photo(96).save(example.folder / "image.png")
    Painting.objects.create(example=example)
    rows: list[Any] = [model, run, analysis, example]
    rows.append(TrainingSet.objects.create(visitor=visitor, name=NAME))
    rows.append(VideoJob.objects.create(visitor=visitor, title=f"{NAME}.mp4", state="done"))
    rows.append(Batch.objects.create(visitor=visitor, title=f"{NAME}.zip", state="done", done=1, total=1))
    rows.append(Export.objects.create(visitor=visitor, model=model, format="onnx", state="done"))
    return [row.public_id for row in rows]


@pytest.mark.slow
@pytest.mark.fault(43)
def test_nothing_of_the_first_reaches_the_second(alice, charlie):
    ids = owned_by(alice.visitor)
    secrets = [NAME, alice.visitor, *ids]
    routes = [route for route in addresses(get_resolver().url_patterns) if not route.startswith(OTHERS)]
    assert len(routes) > 60
    walked = 0
    for route in sorted(set(routes)):
        for address in {filled(route, public_id) for public_id in ids}:
            for method in ("get", "post", "delete"):
                answer = getattr(charlie, method)(address)
                assert answer.status_code < 500, (method, address, answer.status_code)
                body = b"".join(answer) if answer.streaming else answer.content
                text = body.decode(errors="replace").replace(address, "")
                said = f"{text} {dict(answer.headers)}".replace(address, "")
                leaked = [secret for secret in secrets if secret in said and secret not in address]
                assert not leaked, (method, address, answer.status_code, leaked)
                walked += 1
    assert walked > 400
    for kind in (TrainingRun, Example, VideoJob, Batch):
        assert kind.objects.filter(visitor=alice.visitor).exists(), f"{kind.__name__} was deleted by somebody else"


def test_answers_are_kept_by_no_cache_for_others(alice):
    analysis = analyzed(alice.visitor)
    for address in ("/", "/analyze/", "/models/", "/finetune/", "/api/health", "/api/models"):
        answer = alice.get(address)
        assert "no-store" in answer["Cache-Control"] or "no-cache" in answer["Cache-Control"], address
        assert "Cookie" in answer["Vary"], address
    answer = alice.get(f"/files/analyses/{analysis.public_id}/image")
    assert answer.status_code == 200 and "private" in answer["Cache-Control"] and "Cookie" in answer["Vary"]


def test_a_guest_who_mends_a_result_learns_nothing_of_the_owners_model(alice, charlie):
    model = make(alice.visitor, active=True)
    type(model).objects.filter(pk=model.pk).update(name=NAME)
    share = sharing.create(model, "")
    result = analyzed(charlie.visitor, model=model, model_key=model.key, shared=True)
    example = painting.from_analysis(result)
    page = charlie.get(f"/finetune/paint/{example.public_id}/").content.decode()
    assert model.public_id not in page and NAME not in page and share.token not in page
    assert example.painting.corrects is None


@pytest.mark.parametrize(
    "address",
    ["/analyze/a%00b/", "/files/analyses/%00/image", "/api/segment/%00", "/analyze/?result=%00", "/shared/%00/"],
)
def test_a_null_byte_in_an_address_leads_nowhere(alice, address):
    assert alice.get(address).status_code == 404


@pytest.mark.parametrize("digits", [1, 19, 5000])
def test_a_range_of_any_number_is_answered(alice, digits, settings):
    job = VideoJob.objects.create(visitor=alice.visitor, title="a.mp4", state="done")
    job.folder.mkdir(parents=True)
    (job.folder / "overlay.mp4").write_bytes(b"\0" * 100)
    answer = alice.get(f"/video/{job.public_id}/files/overlay.mp4", HTTP_RANGE=f"bytes=0-{'9' * digits}")
    assert answer.status_code in (200, 206, 416)


def test_json_that_is_nested_deeply_is_refused(alice):
    deep = "[" * 100_000 + "]" * 100_000
    answer = alice.post("/api/finetune", {"classes": deep, "images": photo_file(), "masks": photo_file()})
    assert answer.status_code == 422


def photo_file():
    import io

    file = io.BytesIO()
    photo(64).save(file, "PNG")
    file.seek(0)
    file.name = "a.png"
    return file


def test_class_300_is_no_class(alice):
    example = Example.objects.create(visitor=alice.visitor, stem="a", width=8, height=8, mask_kind="painted")
    Painting.objects.create(example=example, classes=[{"id": 1, "name": "leaf", "color": "#00ff00"}])
    answer = alice.post(f"/finetune/paint/{example.public_id}/classes/300/remove/")
    assert answer.status_code < 500
