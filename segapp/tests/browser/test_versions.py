"""Versions in a real browser: compare two, roll back, move to a second browser, share and revoke, take a file along."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from segapp.tests.browser.visits import Tour, faults
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.planting import plant_into

pytestmark = pytest.mark.browser
NARROW = {"width": 360, "height": 740}


class Owner(Tour):
    """A visitor with the public ids of her planted models, oldest first."""

    ids: list[str]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "leaf.png"
    path.write_bytes(saved(photo(96)).getvalue())
    return path


@pytest.fixture(scope="module")
def alice(chromium, served):
    """A visitor with two versions: First finds discs everywhere, Second, the active one, finds rims."""
    served.wait_ready()
    tour = Owner(chromium, served)
    tour.page.goto("/")
    cookie = next(row for row in tour.context.cookies() if row["name"] == "segapp_visitor")
    tour.ids = plant_into(served.home, cookie["value"].split(":")[0], First=1, Second=2)
    yield tour
    tour.context.close()
    assert tour.complaints == []


def card(tour: Owner, number: int):
    return tour.page.locator(f"#model-{tour.ids[number]}")


def test_any_two_versions_are_compared_on_any_photo(alice, image):
    page = alice.page
    page.goto("/models/")
    card(alice, 0).get_by_role("link", name="Compare…").click()
    expect(page.locator("#right")).to_have_value(alice.ids[0])
    page.select_option("#left", alice.ids[1])
    page.locator("input[value=sample]").check()
    page.set_input_files("#compare-file", image)
    expect(page.locator("input[value=upload]")).to_be_checked()
    assert faults(page) == []
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".corner.left")).to_have_text("Second", timeout=60_000)
    expect(page.locator(".corner.right")).to_have_text("First")
    expect(page.locator("[data-side=left] tbody tr:not([hidden])")).to_contain_text("rim")
    expect(page.locator("[data-side=right] tbody tr:not([hidden])")).to_contain_text("disc")
    page.locator("[data-uncover]").fill("20")
    expect(page.locator("[data-compare]")).to_have_attribute("style", re.compile("--at: ?20%"))


def test_the_base_and_a_version_are_compared_on_an_earlier_result(alice):
    page = alice.page
    page.goto(f"/models/compare/?left=base&right={alice.ids[0]}")
    page.locator(".thumb-choice").first.click()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".corner.left")).not_to_have_text("First", timeout=60_000)
    expect(page.locator(".corner.right")).to_have_text("First")


def test_rolling_back_makes_the_older_version_answer_at_once(alice, image):
    page = alice.page
    page.goto("/models/")
    expect(card(alice, 1).locator(".tag.good")).to_have_text("Active")
    card(alice, 0).get_by_role("button", name="Roll back to this").click()
    expect(card(alice, 0).locator(".tag.good")).to_have_text("Active")
    assert alice.memory("finetuned_model_id") == alice.ids[0]
    alice.analyze(image)
    expect(page.locator(".answered")).to_contain_text("“First”")
    page.goto("/models/")
    card(alice, 1).get_by_role("button", name="Activate").click()
    expect(card(alice, 1).locator(".tag.good")).to_have_text("Active")
    expect(card(alice, 1).get_by_role("button", name="Roll back to this")).to_have_count(0)


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_a_file_for_elsewhere_is_made_and_downloaded_without_leaving_the_page(alice, kind):
    page = alice.page
    page.goto("/models/")
    card(alice, 1).locator("summary", has_text="Download").click()
    page.evaluate("window.neverLeft = true")
    page.locator(f"#offer-{alice.ids[1]}-{kind} button").click()
    link = page.locator(f"#get-{alice.ids[1]}-{kind}")
    expect(link).to_be_visible(timeout=120_000)
    assert page.evaluate("window.neverLeft") is True
    assert faults(page) == []
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == f"user_{alice.ids[1]}.{kind}"
    assert Path(download.value.path()).stat().st_size > 5_000_000


def test_a_second_browser_becomes_the_visitor_by_code_and_the_code_works_once(alice, visit, image):
    page = alice.page
    page.goto("/models/")
    page.get_by_role("button", name="Make a code").click()
    code = page.locator(".code-signs strong").text_content() or ""
    assert re.fullmatch(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){2}", code)
    expect(page.locator(".qr svg")).to_be_visible()
    assert faults(page) == []
    phone = visit(viewport=NARROW)
    phone.page.goto("/transfer/")
    assert faults(phone.page) == []
    phone.page.fill("#code", code.lower().replace("-", " "))
    phone.page.get_by_role("button", name="Continue").click()
    expect(phone.page.locator(".version")).to_have_count(2)
    phone.expect_custom()
    phone.page.wait_for_timeout(0)
    assert phone.memory("finetuned_model_id") == alice.ids[1] and phone.memory("finetuned_model_token")
    phone.analyze(image)
    expect(phone.page.locator(".answered")).to_contain_text("“Second”")
    charlie = visit()
    charlie.expected = ["422"]
    charlie.page.goto("/transfer/")
    charlie.page.fill("#code", code)
    charlie.page.get_by_role("button", name="Continue").click()
    expect(charlie.page.get_by_role("alert")).to_contain_text("not valid")
    charlie.expect_base()


def test_a_link_asks_and_a_revoked_one_gives_nothing(alice, visit):
    page = alice.page
    page.goto("/models/")
    page.get_by_role("button", name="Make a code").click()
    link = page.locator(".new-code [data-copy-from]").input_value()
    phone = visit()
    phone.expected = ["422"]
    phone.page.goto(link)
    expect(phone.page.get_by_role("button", name="Bring them here")).to_be_visible()
    page.get_by_role("button", name="Revoke the code").click()
    expect(page.locator("#messages")).to_contain_text("revoked")
    phone.page.get_by_role("button", name="Bring them here").click()
    expect(phone.page.get_by_role("alert")).to_contain_text("not valid")
    phone.expect_base()


def test_a_shared_model_answers_a_guest_until_the_link_is_revoked(alice, visit, image):
    page = alice.page
    page.goto("/models/")
    card(alice, 0).locator("summary", has_text="Share").click()
    card(alice, 0).locator("input[name=label]").fill("Greenhouse")
    card(alice, 0).get_by_role("button", name="Make a link").click()
    link = card(alice, 0).locator("[data-copy-from]").input_value()
    assert faults(page) == []
    guest = visit(viewport=NARROW)
    guest.page.goto(link)
    assert faults(guest.page) == []
    assert guest.page.evaluate("document.documentElement.scrollWidth") <= 360
    guest.page.set_input_files("#image", image)
    guest.page.get_by_role("button", name="Analyze").click()
    answered = guest.page.locator(".answered")
    expect(answered).to_contain_text("Shared model", timeout=60_000)
    expect(guest.page.locator("[data-viewer][data-ready]")).to_be_visible()
    expect(guest.page.locator("table.found tbody tr:not(.absent)")).to_contain_text("disc")
    guest.expect_base()
    assert guest.memory("finetuned_model_id") is None
    guest.page.goto("/models/")
    expect(guest.page.locator(".version")).to_have_count(0)
    page.reload()
    expect(card(alice, 0).locator(".links")).to_contain_text("1 image")
    page.once("dialog", lambda dialog: dialog.accept())
    card(alice, 0).get_by_role("button", name="Revoke").click()
    expect(card(alice, 0).locator(".links")).to_have_count(0)
    guest.expected = ["404"]
    guest.page.goto(link)
    expect(guest.page.locator("h1")).to_have_text("This link is no longer valid")
    assert faults(guest.page) == []


@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_the_pages_are_sound_in_both_themes_and_fit_a_phone(alice, theme):
    page = alice.open()
    page.set_viewport_size(NARROW)
    page.emulate_media(color_scheme=theme)
    opened = [f"/models/?open={alice.ids[0]}&panel={panel}" for panel in ("download", "share")]
    for address in (*opened, "/models/compare/", "/models/erase/", "/transfer/", "/transfer/?code=0000-0000-0000"):
        page.goto(address)
        assert faults(page) == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
    page.close()


def test_deleting_everything_empties_every_browser_and_its_memory(alice):
    """The last of the tour: nothing is left of Alice."""
    page = alice.page
    page.goto("/models/")
    page.get_by_role("link", name="Delete all my data").click()
    page.get_by_role("button", name="Delete all my data").click()
    expect(page.locator("h1")).to_have_text("All your data is deleted")
    alice.expect_base()
    assert alice.memory("finetuned_model_id") is None and alice.memory("finetuned_model_token") is None
    page.goto("/models/")
    expect(page.locator(".version")).to_have_count(0)
    for model in alice.ids:
        assert not list((alice.served.home / "media" / "models").glob(f"*{model}*"))
