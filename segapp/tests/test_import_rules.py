"""The import rules in pyproject.toml cover every module, also those that came later."""

import tomllib

from segapp.home import PROJECT

WORKER_SIDE = {"segapp.tasks", "segapp.worker", "segapp.pipeline", "segapp.measurement"}
APART = {"segapp.bench", "segapp.management", "segapp.migrations", "segapp.tests"}  # these bring both sides together
NETWORKS = {
    f"registry.{name}"
    for name in (
        "cache",
        "checkpoint",
        "decoding",
        "detail",
        "export",
        "folding",
        "group_norm",
        "interior",
        "memory",
        "network",
        "runtime",
        "stages",
        "vision_shim",
        "weights",
    )
}
REGISTRY_APART = {"registry.management", "registry.migrations", "registry.tests"}


def modules(package: str) -> set[str]:
    """Direct submodules and subpackages."""
    folder = PROJECT / package
    files = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    folders = {path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    return {f"{package}.{name}" for name in files | folders}


def test_every_module_is_on_one_side():
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (web,) = [contract for contract in contracts if contract["name"].startswith("Nothing on the web side")]
    listed = set(web["source_modules"])
    assert listed == (modules("segapp") - WORKER_SIDE - APART) | (modules("registry") - NETWORKS - REGISTRY_APART)
    assert set(web["forbidden_modules"]) >= WORKER_SIDE | NETWORKS
