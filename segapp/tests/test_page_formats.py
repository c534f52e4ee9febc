"""What the pages and their scripts know of file kinds comes from the server's one table."""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.files.base import ContentFile

from segapp.imaging import formats, palette
from segapp.static_storage import ModuleStaticFilesStorage

SCRIPTS = sorted((settings.BASE_DIR / "static" / "js").rglob("*.js"))
OF_THE_TABLE = [
    *(
        suffix.removeprefix(".")
        for suffix in formats.IMAGE_SUFFIXES | formats.VIDEO_SUFFIXES | formats.ARCHIVE_SUFFIXES
    ),
    *formats.MASK_FOLDERS - {"mask", "masks", "label", "labels"},  # these four are also names of fields and elements
    *formats.MASK_ENDINGS,
]


def page_table(page) -> dict:
    found = re.search(r'<script id="formats" type="application/json">(.*?)</script>', page.content.decode())
    assert found
    return json.loads(found[1])


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/finetune/", "/analyze/", "/analyze/batch/"])
def test_pages_that_take_files_carry_the_table(client, settings, address):
    settings.UPLOAD_LIMIT_BYTES = 345 * 10**6
    table = page_table(client.get(address))
    assert set(table["image_suffixes"]) == formats.IMAGE_SUFFIXES
    assert tuple(table["mask_endings"]) == formats.MASK_ENDINGS
    assert set(table["mask_folders"]) == formats.MASK_FOLDERS
    assert table["limits"] == {"post_files": settings.UPLOAD_LIMIT_FILES, "post_bytes": 345 * 10**6}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "kinds"),
    [("/finetune/", formats.IMAGE_KINDS), ("/analyze/", formats.IMAGE_KINDS), ("/video/", formats.VIDEO_KINDS)],
)
def test_file_inputs_accept_what_the_table_holds(client, address, kinds):
    assert f'accept="{formats.accept(kinds)}"' in client.get(address).content.decode()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_script_has_a_list_of_kinds_names_limits_or_colours_of_its_own(script):
    code = re.sub(r"(?m)^\s*//.*$", "", script.read_text())
    literals = re.findall(r'"([^"\n]*)"|\'([^\'\n]*)\'|(?<![\w)\]])/((?:[^/\n\\]|\\.)+)/[a-z]*', code)
    words = [text.lower() for found in literals for text in found if " " not in text]  # sentences may name a kind
    parts = {part for word in words for part in re.split(r"[.|/()\\$?,]+", word)}
    own = parts & set(OF_THE_TABLE)
    # Masks and frames go out as image/png: that is what the canvas writes, not what the server reads.
    writes_png = script.name in ("raster.js", "save.js", "live.js", "clicks.js", "player.js")
    assert own - ({"png"} if writes_png else set()) == set()
    assert not [color for color in map(palette.color, range(formats.UNPAINTED)) if color in code.lower()]
    assert not re.search(r"\b(200e6|200 \* 1|200 MB)", code)


def test_scripts_are_modules_without_globals():
    for script in SCRIPTS:
        code = script.read_text()
        assert not re.search(r"\bwindow\.[A-Za-z]\w* = ", code), script
        assert script.name == "theme.js" or '(() => {\n  "use strict"' not in code, script


def test_modules_import_each_other_by_names_that_hold_their_hash(tmp_path, settings):
    settings.STATIC_ROOT = tmp_path
    storage = ModuleStaticFilesStorage(location=tmp_path)
    paths = {}
    for script in SCRIPTS:
        name = str(script.relative_to(settings.BASE_DIR / "static"))
        storage.save(name, ContentFile(Path(finders.find(name)).read_bytes()))
        paths[name] = (storage, name)
    assert not [done for done in storage.post_process(paths) if isinstance(done[2], Exception)]
    for name in paths:
        hashed = Path(tmp_path, storage.stored_name(name))
        for imported in re.findall(r'\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"', hashed.read_text(), re.M):
            target = (hashed.parent / (imported[0] or imported[1])).resolve()
            assert target.is_file() and re.search(r"\.[0-9a-f]{12}\.js$", target.name), (name, imported)
