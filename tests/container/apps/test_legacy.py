"""The app and rel files of the original, as data: their names and structure, and what they miss.

What they say is in tests/data/legacy.yml, as it was written down from the original and its
documentation. They are read unchanged; the Python modules that they name are not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ion import ConfigurationError, Container, IonError
from ion.base import document
from ion.container.apps.app import BUILT_IN, load_app
from ion.container.apps.check import check
from ion.container.apps.plan import plan
from ion.container.apps.release import load_rel

LEGACY = Path(__file__).parents[2] / "data" / "legacy"
TOLD: Mapping[str, Any] = document.read(LEGACY.with_suffix(".yml")).data
APPS, RELS = TOLD["apps"], TOLD["rels"]
# An app that others need, and that the original had no file for.
NEVER_THERE = "resource"
BOOT_ORDER = {
    "bootlevel4": ["datastore", "association"],
    "bootlevel4_local": ["datastore", "association"],
    "bootlevel5": ["datastore", "association", "resource_registry"],
    "bootlevel6": ["scheduler"],
    "bootlevel7": ["identity_registry"],
    "bootlevel8": ["dataset_controller"],
    "bootlevel9": ["notification_alert", "cdm_validation_service", "app_integration"],
    "bootlevel11": ["instrument_integration_service", "eventmonitor", "instrument_web_monitor"],
    "lazyeye_web": ["lazyeye", "lazyeye_web"],
    "example": ["example", "example"],
}


def test_all_of_them_are_here() -> None:
    assert sorted(APPS) == sorted(path.stem for path in LEGACY.glob("apps/*"))
    assert sorted(RELS) == sorted(path.stem for path in LEGACY.glob("deploy/*"))
    assert (len(APPS), len(RELS)) == (38, 15)


@pytest.mark.parametrize("stem", APPS)
def test_an_app_is_read_as_what_it_says(stem: str) -> None:
    told = APPS[stem]
    app = load_app(LEGACY / "apps" / f"{stem}.app")
    assert app.mod is not None
    assert (app.name, app.mod.name) == (told["name"], told["runs"])
    assert app.mod.process_name == told.get("process")
    assert list(app.applications) == told.get("needs", [])
    assert list(app.mod.kwargs) == told.get("kwargs", [])
    assert list(app.config) == told.get("config", [])
    assert app.mod.args == ()
    assert app.built_in == (stem in BUILT_IN)
    assert (app.start_type, app.failover, app.processes) == ("temporary", False, ())


@pytest.mark.parametrize("stem", RELS)
def test_a_release_is_read_as_what_it_says(stem: str) -> None:
    told = RELS[stem]
    rel = load_rel(LEGACY / "deploy" / f"{stem}.rel")
    assert rel.name == told["name"]
    assert [entry.name for entry in rel.apps] == [entry["name"] for entry in told["apps"]]
    for entry, said in zip(rel.apps, told["apps"], strict=True):
        assert entry.mult == said.get("mult", False)
        assert list(entry.args) == said.get("args", [])
        runs = entry.processapp
        assert (runs and runs.name) == said.get("runs")
        assert (runs and runs.process_name) == said.get("process")
        assert entry.version in {"0.1", ""}


def test_the_settings_that_a_release_lays_over_those_of_its_apps() -> None:
    local = plan(load_rel(LEGACY / "deploy" / "bootlevel4_local.rel"))
    data, index = "ion.services.coi.datastore", "ion.services.dm.inventory.association_service"
    store, association = (start.config for start in local)
    assert store[data]["blobs"] == "ion.core.data.store.Store"
    assert association[index]["index_store_class"] == "ion.core.data.store.IndexStore"
    boot8 = plan(load_rel(LEGACY / "deploy" / "bootlevel8.rel"))
    assert boot8[0].config == {"ion.services.dm.inventory.dataset_controller": {"do-init": True}}
    twice = plan(load_rel(LEGACY / "deploy" / "example.rel"))
    assert [(start.mult, dict(start.args)) for start in twice] == [
        (False, {}),
        (True, {"more": "here"}),
    ]


@pytest.mark.parametrize("stem", RELS)
def test_the_order_in_which_a_release_starts(stem: str) -> None:
    """Each after what it needs, each once; ``ccagent`` is in every container."""
    rel = load_rel(LEGACY / "deploy" / f"{stem}.rel")
    listed = [entry.name for entry in rel.apps if entry.name not in BUILT_IN]
    if stem in BOOT_ORDER:
        assert [start.name for start in plan(rel)] == BOOT_ORDER[stem]
        return
    with pytest.raises(ConfigurationError, match="there is no app 'resource'"):
        plan(rel)  # one of its apps needs one that the original did not have either
    assert listed[0] == "datastore"


@pytest.mark.parametrize("stem", APPS)
def test_what_an_app_misses_is_its_modules(stem: str) -> None:
    path = LEGACY / "apps" / f"{stem}.app"
    errors = [f for f in check([path]) if f.severity == "error"]
    own = [f for f in errors if f.file == str(path) and f.key == "mod"]
    if stem in BUILT_IN:
        assert errors == []
        return
    (finding,) = own
    module = APPS[stem]["runs"].partition(":")[0]
    assert re.match(rf"there is no module (or class )?'{re.escape(module)}", finding.message)
    line = path.read_text().splitlines()[(finding.line or 0) - 1]
    assert "mod" in line


@pytest.mark.parametrize("stem", RELS)
def test_what_a_release_misses_is_modules_and_one_app(stem: str) -> None:
    path = LEGACY / "deploy" / f"{stem}.rel"
    errors = [f for f in check([path]) if f.severity == "error"]
    assert errors
    own = {f.key: f.message for f in errors if f.file == str(path)}
    for index, entry in enumerate(RELS[stem]["apps"]):
        if "runs" in entry:
            module = entry["runs"].partition(":")[0]
            assert f"there is no module '{module}'" in own.pop(f"apps.{index}.processapp")
    assert own == {}
    rest = {f.message for f in errors if not f.message.startswith("there is no module")}
    assert all(f"no app {NEVER_THERE!r}" in text for text in rest)


async def test_a_start_of_one_says_what_is_missing_and_leaves_nothing() -> None:
    async with Container("memory://") as container:
        with pytest.raises(IonError, match=r"datastore\.app:\d+: mod: there is no module or class"):
            await container.start_rel(LEGACY / "deploy" / "bootlevel4.rel")
        assert not container.apps
        assert len(container.processes) == 1


async def test_a_class_keeps_what_an_app_gives_it_as_it_did(tmp_path: Path) -> None:
    text = (LEGACY / "apps" / "example_std.app").read_text()
    path = tmp_path / "example_std.app"
    path.write_text(text.replace("ion.play.hello_service", "ion.services.hello.service"))
    (finding,) = check([path])
    assert (finding.severity, finding.key) == ("warning", "mod.2.firstSpawnArg")
    async with Container("memory://") as container:
        await container.start_app(path)
        (pid,) = container.apps["example_std"].pids
        assert container.processes[pid].spawn_args == {"firstSpawnArg": "Here"}
