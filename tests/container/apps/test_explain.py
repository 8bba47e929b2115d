"""What would be started, and where each setting of an app comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ion import ConfigurationError
from ion.base.config import read
from ion.container.apps.explain import planned

LOW = """\
type: application
name: low
processes:
  - {id: a, class: "no.such:Thing"}
config:
  station: north
  deep: {a: 1, b: 2}
  db_password: hidden
"""
HIGH = """\
type: application
name: high
version: 2.0.0
start_type: permanent
applications: [low]
mod:
  name: no.such.module
  kwargs: {port: 7, host: here}
"""
REL = """\
type: release
name: all
apps:
  - name: high
    args:
      port: 8
  - name: low
    config: {station: south}
  - {name: low, mult: true, config: {deep: {b: 3}}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "low.app").write_text(LOW)
    (tmp_path / "high.app").write_text(HIGH)
    (tmp_path / "all.rel").write_text(REL)
    return tmp_path


def origins(values: object) -> dict[str, tuple[object, str]]:
    return {value.key: (value.value, value.origin) for value in values}  # type: ignore[attr-defined]


def test_the_order_and_the_origins(here: Path) -> None:
    environ: Mapping[str, str] = {"ION_APPS__LOW__DEEP__A": "5"}
    low, high, again = planned(["all.rel"], read(environ=environ))
    assert [one.start.name for one in (low, high, again)] == ["low", "high", "low"]
    assert origins(low.config) == {
        "station": ("south", "all.rel:8"),
        "deep.a": (5, "environment ION_APPS__LOW__DEEP__A"),
        "deep.b": (2, "low.app:7"),
        "db_password": ("***", "low.app:8"),
    }
    assert origins(again.config)["deep.b"] == (3, "all.rel:9")
    assert origins(high.args) == {"port": (8, "all.rel:6"), "host": ("here", "high.app:8")}
    station = low.config[0].as_dict()
    assert station["overridden"] == [{"value": "north", "origin": "low.app:6"}]
    said = high.as_dict()
    assert (said["app"], said["version"], said["start_type"], said["needs"]) == (
        "high",
        "2.0.0",
        "permanent",
        ["low"],
    )
    assert again.as_dict()["mult"]


def test_what_has_no_order_is_an_error(here: Path) -> None:
    (here / "low.app").write_text("type: application\nname: low\napplications: [high]\n")
    with pytest.raises(ConfigurationError, match="circle"):
        planned(["high.app"], read(environ={}))
