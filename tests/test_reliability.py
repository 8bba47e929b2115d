"""The page on reliability names tests that are there, and every journey has a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
JOURNEYS = range(1, 13)
HEADER = "| injected | seen | test |"
_NAMED = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<test>\w+)`")


def rows(text: str) -> list[list[str]]:
    """Return the cells of all rows of the tables with three columns: injected, seen, test."""
    found = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip() != HEADER:
            continue
        next(lines)  # the rule below the header
        for row in lines:
            if not row.startswith("|"):
                break
            found.append([cell.strip() for cell in row.strip().strip("|").split("|")])
    return found


def names_in(file: str) -> set[str]:
    path = ROOT / file
    assert path.is_file(), f"{file} is not there"
    tree = ast.parse(path.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


ROWS = rows(PAGE.read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_names_a_test_that_is_there(row):
    assert len(row) == 3, f"not three cells: {row}"
    named = _NAMED.findall(row[2])
    assert named, f"no test in: {row[2]}"
    for file, test in named:
        assert test in names_in(file), f"{file} has no {test}"


def test_every_journey_has_a_row_and_its_file():
    files = {path.name.split("_")[1] for path in (ROOT / "tests/journeys/faults").glob("test_t*")}
    injected = [row[0] for row in ROWS]
    for number in JOURNEYS:
        assert any(text.startswith(f"T{number} ") for text in injected), f"T{number} has no row"
        assert f"t{number}" in files, f"T{number} has no file"


def test_every_test_of_the_journeys_is_named():
    page = PAGE.read_text()
    for path in sorted((ROOT / "tests/journeys/faults").glob("test_t*.py")):
        for test in names_in(str(path.relative_to(ROOT))):
            is_told = not test.startswith("test_") or test == "test_random_traffic_is_compared"
            assert is_told or f"::{test}`" in page, f"{path.name}::{test} has no row"
