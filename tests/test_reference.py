"""The reference says what the code says; ``python -m tests.reference`` renews it."""

from __future__ import annotations

import re

import pytest

import ion
from ion.shell.commandline import options
from tests.reference import GENERATED, REFERENCE, ROOT, pages, renewed

PAGES = list(pages())
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(("path", "text"), PAGES, ids=[path.name for path, _ in PAGES])
def test_a_page_is_up_to_date(path, text):
    assert renewed(text) == text, f"{path.name}: run python -m tests.reference"


def test_everything_generated_is_shown_once():
    shown = re.findall(r"<!-- generated: (\S+) -->", "".join(text for _, text in PAGES))
    assert sorted(shown) == sorted(GENERATED)


def test_a_page_that_is_not_is_found_out():
    text = "<!-- generated: rpc -->\nold\n<!-- end -->"
    assert "REQUESTED --> DONE: inform_result" in renewed(text)


def test_every_public_name_is_in_the_reference():
    text = (REFERENCE / "python.md").read_text() + (REFERENCE / "errors.md").read_text()
    assert [name for name in ion.__all__ if f"`{name}" not in text] == []


def test_every_option_and_command_is_in_the_reference():
    text = (REFERENCE / "cli.md").read_text()
    parsers = [options._start_parser()[0], *(make(w) for w, make in options._COMMANDS.items())]
    words = {s for parser in parsers for s in parser._option_string_actions}
    wanted = {*words, *(f"ioncc {word}" for word in options.RESERVED)}
    assert [word for word in sorted(wanted) if f"`{word}" not in text] == []


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
