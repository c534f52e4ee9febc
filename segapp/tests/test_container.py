"""The compose file and the image agree with the program, as far as that can be seen without running them."""

import re

import pytest
import yaml

from segapp.home import PROJECT
from segapp.management.commands.serve import Command


@pytest.fixture
def compose():
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text())


def serve_options(command: list[str]) -> dict:
    """The options of a `python manage.py serve …` line, read by the command's own parser."""
    assert command[:3] == ["python", "manage.py", "serve"]
    return vars(Command().create_parser("manage.py", "serve").parse_args(command[3:]))


def test_each_part_runs_alone_from_one_image(compose):
    services = compose["services"]
    assert set(services) == {"web", "worker-train", "worker-predict", "redis", "postgres", "nginx"}
    ours = {"web": "web", "worker-train": "train", "worker-predict": "predict"}
    assert {services[name]["image"] for name in ours} == {"segapp"}
    assert [name for name in services if "build" in services[name]] == ["web"]
    for name, part in ours.items():
        assert serve_options(services[name]["command"])["only"] == part


def test_every_part_says_whether_it_is_well(compose):
    image = (PROJECT / "Dockerfile").read_text()
    for name, service in compose["services"].items():
        assert "healthcheck" in service or (name == "web" and "HEALTHCHECK" in image), name


def test_what_must_survive_lies_on_a_volume(compose):
    entries = [entry for service in compose["services"].values() for entry in service["volumes"]]
    assert {entry.partition(":")[0] for entry in entries if not entry.startswith("./")} == set(compose["volumes"])
    assert "data:/data" in compose["services"]["web"]["volumes"]
    assert "SEGAPP_HOME=/data" in (PROJECT / "Dockerfile").read_text()


def test_the_environment_names_only_what_settings_read(compose):
    text = "".join((PROJECT / "segapp" / name).read_text() for name in ("settings.py", "home.py", "heartbeat.py"))
    for name in compose["services"]["web"]["environment"]:
        assert re.search(rf"\b{name}\b", text) or name == "DATABASE_URL", name


def test_only_the_web_service_sees_the_signing_key(compose):
    seeing = [name for name, service in compose["services"].items() if any("/key" in at for at in service["volumes"])]
    assert seeing == ["web"]
    assert compose["services"]["web"]["environment"]["SEGAPP_KEY_FILE"].startswith("/key/")
    for name in ("worker-train", "worker-predict"):
        assert compose["services"][name]["environment"]["SEGAPP_KEYLESS"] == "1"


def test_every_service_is_confined_and_of_a_fixed_version(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"] and service["pids_limit"], name
        assert service["image"] == "segapp" or re.search(r":\d+\.\d+", service["image"]), name


def test_the_image_serves_everything_when_run_alone():
    line = re.search(r"^CMD (\[.*\])$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    options = serve_options(yaml.safe_load(line.group(1)))
    assert options["only"] is None
    assert options["bind"] == "0.0.0.0"


def test_nginx_is_well_when_the_site_can_take_requests(compose):
    """Health names models and workers, which a missing worker changes; ready asks for the database and media only."""
    assert compose["services"]["nginx"]["healthcheck"]["test"][-1].endswith("/ready")
