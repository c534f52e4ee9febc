"""Visitors do whatever they may, in any order, and the workers come whenever they like; beside it a plain account of
what must be so. Hypothesis looks for the shortest order of actions after which page and account differ.

SEGAPP_TEST_MACHINE is the number of orders that are tried (3), SEGAPP_TEST_MACHINE_STEPS the actions of each (25).
"""

import hashlib
import io
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as site
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.http import HttpRequest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

from registry import services as registry
from registry.models import UserModel
from segapp.models import Analysis, ModelShare, State, TrainingRun
from segapp.pipeline.training.finetune import Cancelled
from segapp.services import restore, transfer
from segapp.tests.fixtures import Visitor
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.planting import CLASSES, plant
from segapp.tests.views.rows import pairs
from segapp.visitors import known_id
from segapp.worker import inference
from segapp.worker.publishing import LeaseLost

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = int(os.environ.get("SEGAPP_TEST_MACHINE", "3"))
STEPS = int(os.environ.get("SEGAPP_TEST_MACHINE_STEPS", "25"))
BROWSERS = ("alice", "bob", "charlie")
browser = st.sampled_from(BROWSERS)
finding = st.integers(0, len(CLASSES) - 1)


@dataclass
class Owner:
    """Whoever one or several browsers are: what they have, and what answers them."""

    models: dict[str, int] = field(default_factory=dict)  # id -> the class it finds everywhere
    trashed: set[str] = field(default_factory=set)
    active: str | None = None
    comes_back: str | None = None  # lost while it was active: answers again when its file is found
    runs: dict[str, bool] = field(default_factory=dict)  # unfinished training -> whether its model becomes active
    drafts: int = 0


@dataclass
class Waiting:
    """An image in the queue, and the model that was pinned for it; None: the base."""

    browser: str
    owner: Owner
    public_id: str
    model: str | None


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.browsers = {name: Visitor() for name in BROWSERS}
        self.owners = {name: Owner() for name in BROWSERS}
        self.away: dict[str, bytes] = {}  # files of models that somebody took away
        self.shares: dict[str, str] = {}  # token -> model
        self.waiting: list[Waiting] = []
        self.erased: set[str] = set()
        self.sent = 0

    # --- what there is ------------------------------------------------------------------------------------

    def everybody(self) -> list[Owner]:
        found: list[Owner] = []
        for owner in self.owners.values():
            if not any(owner is other for other in found):
                found.append(owner)
        return found

    def owner_of(self, model: str) -> Owner | None:
        return next((owner for owner in self.everybody() if model in owner.models), None)

    def all_models(self) -> list[str]:
        return [model for owner in self.everybody() for model in owner.models]

    def some_model(self, data) -> str:
        """Anybody's, one that was erased, or one that never was."""
        return data.draw(st.sampled_from([*self.all_models(), *sorted(self.erased), "0" * 32]), label="model")

    def usable(self, who: str, model: str) -> bool:
        owner = self.owners[who]
        return model in owner.models and model not in owner.trashed

    # --- training -----------------------------------------------------------------------------------------

    @rule(who=browser)
    def upload(self, who):
        self.sent += 1
        files = pairs(f"image{self.sent}")
        assert self.browsers[who].post("/finetune/", files).status_code in (200, 302)
        self.owners[who].drafts += 1

    @rule(who=browser)
    def train(self, who):
        self.sent += 1
        answer = self.browsers[who].post("/api/finetune", pairs(f"image{self.sent}"))
        owner = self.owners[who]
        if owner.runs:
            assert answer.status_code == 409, answer.content
        else:
            assert answer.status_code == 202, answer.content
            owner.runs[answer.json()["run_id"]] = True

    @rule(finds=finding, ends=st.sampled_from(["done", "cancelled last", "lease lost", "failed"]))
    def work(self, finds, ends):
        """A worker takes the oldest training to its end."""
        run = TrainingRun.objects.filter(state=State.QUEUED).order_by("pk").first()
        if run is None:
            return
        token = secrets.token_hex(16)
        assert TrainingRun.objects.claim(run.pk, "a worker", token)
        run.refresh_from_db()
        (owner,) = [each for each in self.everybody() if run.public_id in each.runs]
        becomes_active = owner.runs[run.public_id]
        if ends == "cancelled last":
            who = next(name for name, each in self.owners.items() if each is owner)
            assert self.browsers[who].post(f"/api/finetune/{run.public_id}/stop", {"keep": "false"}).status_code == 200
            with pytest.raises(Cancelled):
                plant(run.visitor, "Model", finds, run=run)
            assert TrainingRun.objects.end(run.pk, token, State.CANCELLED)
        elif ends == "failed":
            assert TrainingRun.objects.end(run.pk, token, State.FAILED, message="no memory")
        elif ends == "lease lost":  # another worker has it now: this one's model is dropped and the other's counts
            TrainingRun.objects.filter(pk=run.pk).update(lease="another")
            with pytest.raises(LeaseLost):
                plant(run.visitor, "Model", finds, run=run)
            assert TrainingRun.objects.end(run.pk, "another", State.FAILED, message="given up")
        else:
            model = plant(run.visitor, "Model", finds, run=run)
            owner.models[model.public_id] = finds
            if becomes_active:
                owner.active, owner.comes_back = model.public_id, None
        del owner.runs[run.public_id]

    @rule(who=browser)
    def cancel(self, who):
        for run in list(self.owners[who].runs):
            assert self.browsers[who].post(f"/api/finetune/{run}/stop", {"keep": "false"}).status_code == 200
            del self.owners[who].runs[run]

    # --- the active model ---------------------------------------------------------------------------------

    @rule(who=browser)
    def reset(self, who):
        owner = self.owners[who]
        assert self.browsers[who].post("/api/reset-to-base-model").status_code == 200
        owner.active = owner.comes_back = None
        owner.runs = dict.fromkeys(owner.runs, False)

    @rule(who=browser, data=st.data())
    def activate(self, who, data):
        model, owner = self.some_model(data), self.owners[who]
        answer = self.browsers[who].post(f"/api/models/{model}/activate")
        if self.usable(who, model) and model not in self.away:
            assert answer.status_code == 200
            owner.active, owner.comes_back = model, None
        else:
            assert answer.status_code == 404

    @rule(who=browser, data=st.data())
    def delete(self, who, data):
        model, owner = self.some_model(data), self.owners[who]
        answer = self.browsers[who].delete(f"/api/models/{model}")
        if self.usable(who, model):
            assert answer.status_code == 200
            owner.trashed.add(model)
            owner.active = None if owner.active == model else owner.active
        else:
            assert answer.status_code == 404

    @rule(who=browser, data=st.data())
    def undelete(self, who, data):
        model = self.some_model(data)
        answer = self.browsers[who].post(f"/models/{model}/undelete/")
        mine = model in self.owners[who].trashed
        assert answer.status_code == (302 if mine else 404)
        self.owners[who].trashed.discard(model)

    @rule(who=browser, data=st.data())
    def download(self, who, data):
        model = self.some_model(data)
        answer = self.browsers[who].get(f"/models/{model}/download/pth/")
        if self.usable(who, model) and model not in self.away:
            content = b"".join(answer)
            assert hashlib.sha256(content).hexdigest() == UserModel.objects.get(public_id=model).sha256
        else:
            assert answer.status_code == 404

    # --- images -------------------------------------------------------------------------------------------

    @rule(who=browser)
    def analyze(self, who):
        answer = self.browsers[who].post("/api/segment", {"file": image()})
        assert answer.status_code == 503, answer.content  # no worker has come yet
        owner = self.owners[who]
        row = Analysis.objects.order_by("-pk")[0]
        assert answer["Location"] == f"/api/segment/{row.public_id}"
        self.waiting.append(Waiting(who, owner, row.public_id, owner.active))

    @rule(who=browser, data=st.data())
    @precondition(lambda self: self.shares)
    def analyze_as_a_guest(self, who, data):
        token = data.draw(st.sampled_from(sorted(self.shares)), label="share")
        answer = self.browsers[who].post("/api/segment", {"file": image(), "share": token})
        model = self.shares[token]
        owner = self.owner_of(model)
        if owner is None or model in owner.trashed or model in self.away:
            assert answer.status_code == 404
            return
        assert answer.status_code == 503, answer.content
        row = Analysis.objects.order_by("-pk")[0]
        self.waiting.append(Waiting(who, self.owners[who], row.public_id, model))

    @rule()
    def answer(self):
        """A worker comes and answers what waits."""
        for one in self.waiting:
            inference.run(Analysis.objects.get(public_id=one.public_id).pk)
        for one in self.waiting:
            who = next((name for name, owner in self.owners.items() if owner is one.owner), None)
            assert who is not None, "what its owner erased no longer waits"
            answer = self.browsers[who].get(f"/api/segment/{one.public_id}")
            assert answer.status_code == 200, answer.content
            found = answer.json()
            owner = self.owner_of(one.model) if one.model else None
            if one.model and owner is not None and one.model not in self.away:
                assert found["model_key"] == f"user_{one.model}"
                mask = np.asarray(Image.open(io.BytesIO(b"".join(self.browsers[who].get(found["mask_url"])))))
                assert (mask == owner.models[one.model]).all(), "another model's answer"
            else:
                assert found["model_key"] == base_key()
            for other, client in self.browsers.items():
                if self.owners[other] is not one.owner:
                    assert client.get(f"/api/segment/{one.public_id}").status_code == 404
        self.waiting.clear()

    @rule(who=browser, data=st.data())
    def share(self, who, data):
        model = self.some_model(data)
        answer = self.browsers[who].post(f"/models/{model}/share/", {"label": "x"})
        if self.usable(who, model):
            assert answer.status_code == 302
            token = ModelShare.objects.order_by("-pk")[0].token
            self.shares[token] = model
        else:
            assert answer.status_code == 404

    @rule(who=browser, data=st.data())
    @precondition(lambda self: self.shares)
    def revoke(self, who, data):
        token = data.draw(st.sampled_from(sorted(self.shares)), label="share")
        mine = self.usable(who, self.shares[token])
        answer = self.browsers[who].post(f"/models/shares/{token}/revoke/")
        assert answer.status_code == (302 if mine else 404)
        if mine:
            del self.shares[token]

    # --- who is who ---------------------------------------------------------------------------------------

    @rule(old=browser, new=browser, by=st.sampled_from(["code", "token"]))
    def join(self, old, new, by):
        """The browser `new` becomes the visitor of `old` and brings along what it has."""
        into, brings = self.owners[old], self.owners[new]
        visitor = self.id_of(old)
        if by == "code":
            answer = self.browsers[new].post("/transfer/", {"code": transfer.make(visitor)[1]})
            assert answer.status_code == 302
        else:
            sent = {"user_id": into.active or "", "token": restore.token(visitor)}
            answer = self.browsers[new].post("/api/load-user-model", sent)
            if into.active is None:  # it becomes the visitor, and there is no model to activate
                assert answer.status_code in (404, 422)
                if answer.status_code == 422:
                    return
            else:
                assert answer.status_code == 200
        if brings is into:
            return
        into.models |= brings.models
        into.trashed |= brings.trashed
        into.runs |= brings.runs
        into.drafts += brings.drafts
        for name in BROWSERS:
            if self.owners[name] is brings:
                self.owners[name] = into
        for one in self.waiting:
            if one.owner is brings:
                one.owner = into

    @rule(who=browser)
    def sign_out_others(self, who):
        owner = self.owners[who]
        assert self.browsers[who].post("/transfer/sign-out-others/").status_code == 302
        self.begin_afresh([name for name in BROWSERS if name != who and self.owners[name] is owner])
        held = {run.public_id for run in TrainingRun.objects.filter(visitor=self.id_of(who))}
        owner.runs = {run: active for run, active in owner.runs.items() if run in held}

    @rule(who=browser)
    def erase(self, who):
        owner = self.owners[who]
        assert self.browsers[who].post("/models/erase/").status_code == 200
        self.erased |= set(owner.models)
        for model in owner.models:
            self.away.pop(model, None)
        self.shares = {token: model for token, model in self.shares.items() if model not in owner.models}
        self.waiting = [one for one in self.waiting if one.owner is not owner]
        self.begin_afresh([name for name in BROWSERS if self.owners[name] is owner])

    def begin_afresh(self, names: list[str]) -> None:
        """These browsers have nothing any more; some of them may still be one visitor."""
        owners: dict[str, Owner] = {}
        for name in names:
            self.owners[name] = owners.setdefault(self.id_of(name), Owner())

    def id_of(self, name: str) -> str:
        self.browsers[name].get("/api/health")  # brings a cookie where the last answer took it away
        return visitor_of(self.browsers[name])

    # --- what happens to files ----------------------------------------------------------------------------

    @rule(data=st.data())
    @precondition(lambda self: set(self.all_models()) - self.away.keys())
    def lose_file(self, data):
        left = sorted(set(self.all_models()) - self.away.keys())
        model = data.draw(st.sampled_from(left), label="lost")
        path = UserModel.objects.get(public_id=model).path
        self.away[model] = path.read_bytes()
        path.unlink()
        owner = self.owner_of(model)
        if owner is not None and owner.active == model:
            owner.active, owner.comes_back = None, model

    @rule(data=st.data())
    @precondition(lambda self: self.away)
    def find_file(self, data):
        model = data.draw(st.sampled_from(sorted(self.away)), label="found")
        UserModel.objects.get(public_id=model).path.write_bytes(self.away.pop(model))
        self.settle()

    @rule()
    def cleanup(self):
        call_command("cleanup_models", verbosity=0)

    def settle(self) -> None:
        """A lost model answers again when its file is there, it is not in the trash and nothing else was chosen."""
        for owner in self.everybody():
            back = owner.comes_back
            if back and owner.active is None and back not in self.away and back not in owner.trashed:
                owner.active, owner.comes_back = back, None

    # --- what must be so ----------------------------------------------------------------------------------

    @initialize(first=finding, second=finding)
    def begin(self, first, second) -> None:
        """Alice and Bob have a model each, Charlie has none."""
        for who, finds in (("alice", first), ("bob", second)):
            model = plant(self.id_of(who), "Model", finds)
            owner = self.owners[who]
            owner.models[model.public_id], owner.active = finds, model.public_id

    @invariant()
    def each_browser_is_answered_by_its_own_active_model_or_the_base(self):
        self.settle()
        for name, owner in self.owners.items():
            answering = self.browsers[name].get("/api/health").json()["active_model"]
            assert answering == (f"user_{owner.active}" if owner.active else base_key()), name

    @invariant()
    def each_browser_is_shown_its_own_models_only(self):
        for name, owner in self.owners.items():
            listed = {row["id"] for row in self.browsers[name].get("/api/models").json()["models"]}
            assert listed == set(owner.models) - owner.trashed, name

    @invariant()
    def files_and_rows_are_the_same(self):
        rows = {row.public_id: row for row in UserModel.objects.all()}
        assert set(rows) == set(self.all_models())
        folder = Path(site.MEDIA_ROOT) / "models"
        files = {path.stem.removeprefix("user_"): path for path in folder.glob("*.pth")}
        assert set(files) == set(rows) - self.away.keys()
        for public_id, path in files.items():
            assert path.stat().st_size == rows[public_id].size_bytes
            assert hashlib.sha256(path.read_bytes()).hexdigest() == rows[public_id].sha256
        for kind, name in ((Analysis, "analyses"), (TrainingRun, "runs")):
            known = set(kind._default_manager.values_list("public_id", flat=True))
            assert {path.name for path in (Path(site.MEDIA_ROOT) / name).glob("*")} <= known, name

    def teardown(self):
        """Everybody leaves and nothing of them stays."""
        for name in BROWSERS:
            self.browsers[name].post("/models/erase/")
        left = {kind.__name__: kind._default_manager.count() for kind in (UserModel, TrainingRun, Analysis)}
        files = [path.name for path in Path(site.MEDIA_ROOT).rglob("*") if path.is_file() and "bases" not in path.parts]
        for row in UserModel.objects.all():  # so that what failed here does not fail the next order of actions, too
            registry.delete_with_file(row)
        TrainingRun.objects.all().delete()
        Analysis.objects.all().delete()
        assert not any(left.values()) and not files, (left, files)


def visitor_of(client: Visitor) -> str:
    """Who the server takes this browser for."""
    request = HttpRequest()
    request.COOKIES = {name: cookie.value for name, cookie in client.cookies.items()}
    return known_id(request)


def image() -> SimpleUploadedFile:
    return SimpleUploadedFile("photo.png", saved(photo(64)).getvalue())


def base_key() -> str:
    base = registry.current_base()
    assert base is not None
    return base.key


@pytest.mark.timeout(3600)
def test_whatever_visitors_do_each_has_their_own_models_and_nobody_elses(settings_of_machine):
    run_state_machine_as_test(Machine, settings=settings_of_machine)


@pytest.fixture
def settings_of_machine(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    settings.SEGAPP_TRAIN_QUEUE = settings.SEGAPP_QUEUE = 1000
    monkeypatch.setattr("segapp.api.views.WAIT_SECONDS", 0)
    return hypothesis_settings


hypothesis_settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="SEGAPP_TEST_MACHINE" not in os.environ,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
