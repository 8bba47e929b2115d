"""The page on OTP's scenarios names tests that are there, and says something of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_reliability import names_in

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "supervision.md"
HEADER = "| OTP | ION | test |"
_NAMED = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<test>\w+)`")


def rows() -> list[list[str]]:
    """Return the cells of all rows of the page's tables."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    told = [line for line in lines if line != HEADER and not set(line) <= set("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in told]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:50])
def test_a_scenario_names_a_test_that_is_there(row):
    assert len(row) == 3, f"not three cells: {row}"
    scenario, here, tests = row
    assert scenario
    assert here
    named = _NAMED.findall(tests)
    assert named, f"no test in: {tests}"
    for file, test in named:
        assert test in names_in(file), f"{file} has no {test}"


def test_there_are_scenarios_of_every_kind():
    headings = [line for line in PAGE.read_text().splitlines() if line.startswith("## ")]
    assert len(rows()) > 80
    assert len(headings) == PAGE.read_text().count(HEADER)


def test_no_scenario_is_told_twice():
    told = [row[0] for row in rows() if not row[0].startswith("...")]
    assert len(set(told)) == len(told)
