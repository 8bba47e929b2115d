"""Life cycles of resources: the tables are checked, and so is each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ion.base.errors import ConfigurationError
from ion.services.resource_registry.lifecycle import (
    AVAILABILITIES,
    GONE,
    MATURITIES,
    TABLES,
    IllegalStep,
    LifeCycle,
    life_cycles,
)

EVENTS = sorted({row[0] for tables in TABLES.values() for rows in tables.values() for row in rows})
STATES = [(m, a) for m in MATURITIES for a in AVAILABILITIES]
FULL = {
    "plan": {"DRAFT": "PLANNED"},
    "develop": {"DRAFT": "DEVELOPED", "PLANNED": "DEVELOPED", "INTEGRATED": "DEVELOPED"},
    "integrate": {"DEVELOPED": "INTEGRATED", "DEPLOYED": "INTEGRATED"},
    "deploy": {"INTEGRATED": "DEPLOYED"},
    "retire": dict.fromkeys(MATURITIES[:5], "RETIRED"),
    "delete": dict.fromkeys(MATURITIES[:6], "DELETED"),
}
SHOWN = {
    "announce": {"PRIVATE": "DISCOVERABLE"},
    "unannounce": {"DISCOVERABLE": "PRIVATE", "AVAILABLE": "PRIVATE"},
    "enable": {"PRIVATE": "AVAILABLE", "DISCOVERABLE": "AVAILABLE"},
    "disable": {"AVAILABLE": "DISCOVERABLE"},
}


def expected(maturity: str, availability: str, event: str) -> tuple[str, str] | None:
    if event in SHOWN:
        after = SHOWN[event].get(availability)
        return (maturity, after) if after and maturity not in GONE else None
    after = FULL[event].get(maturity)
    if after is None:
        return None
    return after, "PRIVATE" if after in GONE else availability


@pytest.mark.parametrize("event", EVENTS)
def test_every_step_is_in_the_table_or_refused(event: str) -> None:
    cycle = life_cycles({})["resource"]
    for maturity, availability in STATES:
        after = expected(maturity, availability, event)
        assert (event in cycle.allowed(maturity, availability)) is (after is not None)
        if after is not None:
            assert cycle.step(maturity, availability, event) == after
            continue
        with pytest.raises(IllegalStep) as raised:
            cycle.step(maturity, availability, event)
        told = raised.value
        assert told.code == 409
        assert told.details["state"] == f"{maturity}_{availability}"
        assert told.details["event"] == event
        assert told.details["allowed"] == cycle.allowed(maturity, availability)
        for word in (event, f"{maturity}_{availability}", *told.details["allowed"]):
            assert word in str(told)


def test_an_event_that_there_is_none_of() -> None:
    with pytest.raises(IllegalStep, match=r"'explode'.*DRAFT_PRIVATE.*plan, develop"):
        life_cycles({})["resource"].step("DRAFT", "PRIVATE", "explode")


def test_more_of_them_are_data() -> None:
    tables = {"maturity": [["launch", ["DRAFT", "PLANNED"], "DEPLOYED"]]}
    cycle = life_cycles({"rocket": tables})["rocket"]
    assert cycle.step("PLANNED", "AVAILABLE", "launch") == ("DEPLOYED", "AVAILABLE")
    assert cycle.allowed("DEPLOYED", "PRIVATE") == ["announce", "enable"]
    assert "DRAFT --> DEPLOYED: launch" in cycle.maturity.mermaid()


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"maturity": [["plan", "DRAFT", "PLANED"]]}, "PLANED"),
        ({"maturity": [["plan", "draft", "PLANNED"]]}, "draft"),
        ({"maturity": [["plan", "DRAFT"]]}, "maturity"),
        ({"maturity": [["p" * 33, "DRAFT", "PLANNED"]]}, "at most 32"),
        ({"maturity": [["announce", "DRAFT", "PLANNED"]]}, "announce"),
        ({"maturities": []}, "maturit"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        LifeCycle("mine", tables)
    assert "mine" in str(raised.value)


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "resource-registry.md").read_text()
    lines = {line for line in page.splitlines() if line.startswith("| `")}
    told = set()
    for rows in TABLES["resource"].values():
        for event, sources, target in rows:
            one = [sources] if isinstance(sources, str) else sources
            left = [state for state in MATURITIES if state not in one]
            many = f"all but {', '.join(left)}" if len(one) > 4 else ", ".join(one)
            told.add(f"| `{event}` | {many} | {target}{', PRIVATE' * (target in GONE)} |")
    assert lines == told
