"""The benchmark of stores: its turns and words, and a tiny run of every row."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks import report, rows
from benchmarks.__main__ import main
from benchmarks.medians import Results
from benchmarks.stores.__main__ import words
from benchmarks.stores.blobs import CHUNK, source, verified
from benchmarks.stores.engine import check
from benchmarks.stores.gathering import Gathered
from benchmarks.stores.sides import FOUND, records
from benchmarks.stores.turns import BARE, ION, alternate, summary


def turn(rate: float, p50: float = 1.0) -> dict[str, float]:
    return {"rate": rate, "p50_us": p50, "p99_us": p50}


def test_a_ratio_is_that_of_neighbouring_turns():
    slower = summary({ION: [turn(50), turn(5), turn(40)], BARE: [turn(100), turn(10), turn(40)]})
    assert slower["ratio"]["rate"] == 0.5  # of the medians it would be 1.0
    assert slower["ion"]["rate"] == 40
    assert slower["bare"]["rate"] == 40


async def test_both_sides_take_turns():
    seen: list[str] = []

    def side(name: str) -> Any:
        async def call() -> None:
            if seen[-1:] != [name]:
                seen.append(name)
            await asyncio.sleep(0)

        return call

    found = await alternate({ION: side(ION), BARE: side(BARE)}, 2, 0.03)
    assert len(seen) >= 4
    assert found["ratio"].keys() == {"rate", "p50_us", "p99_us"}


async def test_what_waits_together_is_done_at_once():
    groups: list[int] = []

    async def do(items: Any) -> Any:
        groups.append(len(items))
        await asyncio.sleep(0)
        return [item * 2 for item in items]

    gathered = Gathered(do)
    first = [gathered.call(n) for n in range(3)]
    assert await asyncio.gather(*first, gathered.call(5)) == [0, 2, 4, 10]
    assert groups == [4]
    assert await gathered.call(7) == 14


def test_each_kind_has_20_records():
    found = records(200)
    kinds = [kind for _, _, _, kind, _ in found]
    assert {kinds.count(kind) for kind in kinds} == {FOUND}
    assert len({depth for *_, depth in found}) == 200


async def test_a_query_that_finds_something_else_is_not_measured():
    async def few() -> list[int]:
        return [1, 2]

    sides = {ION: few, BARE: few}
    with pytest.raises(ValueError, match="ion: equal finds 2 records, not 20"):
        await check({"equal": (sides, 1), "page": (sides, 1)})


async def test_chunks_differ_and_are_verified():
    one, other = [chunk async for chunk in source(2)]
    assert one != other
    assert len(one) == CHUNK
    digest = hashlib.sha256(one).digest()
    assert verified(one, digest) is one
    with pytest.raises(ValueError, match="not what it was"):
        verified(other, digest)


def test_engines_are_chosen_by_word():
    keys = [row.key for row in rows.selected(words(["--engines", "sqlite,redis"])[1])]
    assert keys == ["stores.sqlite", "stores.redis", "stores.sqlite.blob.ion",
                    "stores.sqlite.blob.bare"]  # fmt: skip
    assert rows.selected(words([])[1]) == rows.STORE_ROWS
    with pytest.raises(SystemExit):
        words(["--engines", "oracle"])


def test_goals_that_are_missed_are_told():
    slow = {"ion": {}, "bare": {}, "ratio": {"get1": {"rate": 0.79}, "page": {"p50_us": 1.51}}}
    lines = report.reach_lines(Results({"stores.sqlite": [slow]}))
    assert [line[-1] for line in lines] == ["does not hold"] * 2


@pytest.mark.parametrize(
    ("words", "kept"),
    [("stores", ["stores.json"]), ("", ["latest.json", "stores.json"]), ("stores.redis", [])],
)
def test_results_are_kept_of_what_was_run_as_a_whole(
    words: str, kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(program, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(program, "LATEST_STORES", tmp_path / "stores.json")
    written: list[bool] = []
    monkeypatch.setattr(
        program, "write_docs", lambda _, *, is_of_stores: written.append(is_of_stores)
    )
    chosen = rows.selected(words)
    keys = [row.key for row in chosen]
    program.keep({"figures": {key: [] for key in keys}, "failures": {}}, chosen)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert len(written) == len(kept)
    for name in kept:
        figures = json.loads((tmp_path / name).read_text())["figures"]
        assert {key.startswith("stores.") for key in figures} == {name == "stores.json"}


def test_pages_have_places_for_the_tables_of_stores():
    for page in (program.REFERENCE, program.README):
        assert report.START.format("stores") in page.read_text()


def run(engine: str, tmp_path: Path) -> dict[str, Any]:
    """Run the rows of an engine, tiny."""
    output = tmp_path / "run.json"
    options = ["--rounds", "1", "--seconds", "0.03", "--scale", "0.002", "--output", str(output)]
    assert main(words(["--engines", engine, *options])) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    assert found["failures"] == {}
    (figures,) = found["figures"][f"stores.{engine}"]
    for call in ("get1", "put1", "get64", "put64", "equal", "page"):
        assert figures["ion"][call]["rate"] > 0
        assert figures["ratio"][call]["p50_us"] > 0
    return found


def test_a_tiny_run_on_sqlite(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    figures = run("sqlite", tmp_path)["figures"]
    for side in ("ion", "bare"):
        (blob,) = figures[f"stores.sqlite.blob.{side}"]
        assert blob["in_mb_s"] > 0
        assert blob["out_mb_s"] > 0
    printed = capsys.readouterr().out
    assert (
        "| SQLite, acknowledged put, 64 callers: of the bare driver | at least 0.8 x |" in printed
    )
    assert "SQLite: the 20 of a kind" in printed
    assert "stores at 0.002 of their size" in printed


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["postgres", "redis"])
def test_a_tiny_run_on_a_server(engine: str, tmp_path: Path):
    run(engine, tmp_path)


@pytest.mark.slow
@pytest.mark.amqp
def test_a_tiny_clone(tmp_path: Path):
    output = tmp_path / "run.json"
    options = ["--rounds", "1", "--scale", "0.001", "--output", str(output)]
    assert main(["-k", "stores.clone", *options]) == 0
    (seen,) = json.loads(output.read_text())["figures"]["stores.clone"]
    assert seen["elements"] > 100
    assert seen["again"] == 1
    assert seen["changed"] < 10
