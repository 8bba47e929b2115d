"""What `--json` prints has the keys that the reference says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
ECHO = "ion.services.echo.service:EchoService"


def said(of: str) -> set[str]:
    """The keys in the row of the reference that begins with ``of``."""
    section = PAGE.read_text().partition("## JSON")[2]
    rows = [line for line in section.splitlines() if line.startswith(f"| {of} |")]
    (text,) = (row.split(" | ", 1)[1] for row in rows)
    text = re.sub(r"\([^)]*\)", "", text)
    return set(re.findall(r"`(\w+)`", text))


@pytest.fixture(scope="module")
def system(module_ioncc):
    """A container with service `hello`, whose bus listens."""
    serving = module_ioncc.serve("-n", "--listen", "hello")
    serving.container = serving.ready()["id"]
    return serving


@pytest.fixture
def told(module_ioncc, system):
    """Run a command; return what it printed as JSON."""

    def run(*words):
        result = module_ioncc.run(*words, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize("word", ["ps", "services", "apps", "nodes", "dlq list", "loglevel"])
def test_rows_have_the_keys_of_the_reference(told, word):
    keys = said(f"`{word}`")
    assert len(keys) > 2
    for row in told(*word.split()):
        assert keys <= set(row)


@pytest.mark.parametrize("part", ["containers", "services", "processes"])
def test_a_sample_has_the_keys_of_the_reference(told, part):
    found = told("top", "--count", "1", "--every", "0.1")
    assert set(found) == said("`top`")
    assert {key for row in found[part] for key in row} == said(f"… `{part}`")


def test_a_record_has_the_keys_of_the_reference(told, system):
    record = told("tail", "--no-follow", "-n", "1")
    assert {"time", "level", "logger", "message", "container"} <= set(record) <= said("`tail`")


def test_what_is_done_has_the_keys_of_the_reference(told, system):
    spawned = told("spawn", system.container, ECHO)
    assert set(spawned) == said("`spawn`")
    assert set(told("kill", spawned["pid"])) == said("`kill`")
    assert set(told("restart", "hello")[0]) == said("`restart` APP")
    (pid,) = (row["pid"] for row in told("ps") if row["service"] == "hello")
    assert set(told("restart", pid)) == said("`restart` PID")
    assert set(told("drain", system.container)[0]) == said("`drain`")
