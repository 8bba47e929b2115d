"""The benchmark: what it computes, what it does with programs that fail, and a quick run of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks import load, report, rows, tools
from benchmarks.__main__ import main
from benchmarks.medians import Results
from benchmarks.payload import RPC_BYTES
from benchmarks.procs import MeasurementFailed, Program
from benchmarks.reach import GOALS, Goal
from benchmarks.resident import resident_bytes

PYTHON = sys.executable


def rounds(**rates: list[float]) -> Results:
    return Results({key: [{"64": {"rate": r}} for r in each] for key, each in rates.items()})


def test_ratios_are_of_medians():
    results = rounds(ours=[50, 10, 70], theirs=[100, 90, 300])
    assert results.median("ours", "64.rate") == 50
    assert results.ratio("ours", "theirs", "64.rate") == 0.5
    assert results.ratio("ours", "absent", "64.rate") is None


def test_best_is_the_highest_rate_and_the_lowest_time():
    results = Results({"a": [{"rate": 1, "p50_us": 9}, {"rate": 2, "p50_us": 5}]})
    assert results.best("a", "rate") == 2
    assert results.best("a", "p50_us") == 5


@pytest.mark.parametrize(
    ("bound", "at_least", "verdict"),
    [(0.5, True, "holds"), (0.6, True, "does not hold"), (0.4, False, "does not hold")],
)
def test_a_goal_is_held_against_its_bound(bound: float, at_least: bool, verdict: str):
    results = rounds(ours=[50], theirs=[100])
    goal = Goal("g", lambda r: r.ratio("ours", "theirs", "64.rate"), bound, at_least)
    assert goal.verdict(results) == (0.5, verdict)


def test_a_goal_that_was_not_measured_is_not_claimed():
    assert {goal.verdict(Results({}))[1] for goal in GOALS} == {"not measured"}
    assert report.reach_lines(Results({})) == []


def test_every_key_of_a_goal_is_a_row():
    asked: set[str] = set()

    class Asked(Results):
        def values(self, key: str, figure: str) -> list[float]:
            asked.add(key)
            return [1.0]

    for goal in GOALS:
        goal.verdict(Asked({}))
    unknown = asked - {row.key for row in rows.ALL_ROWS}
    assert not {key for key in unknown if not key.endswith(".pika")}  # only in the mode `blast`


def test_row_keys_are_unique_and_selected_by_word():
    keys = [row.key for row in rows.ALL_ROWS]
    assert len(keys) == len(set(keys))
    assert [row.key for row in rows.selected("rpc.c, spawn")] == [
        "rpc.c",
        "spawn.ion",
        "spawn.bare",
    ]
    assert {row.group for row in rows.selected("ion_*")} == set()
    assert len(rows.selected("")) == len(keys)
    assert all(".1MB." in row.key for row in rows.selected("1MB"))


def test_tables_go_between_the_markers(tmp_path: Path):
    page = tmp_path / "page.md"
    start, end = report.START.format("stores"), report.END.format("stores")
    page.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    assert report.write_between_markers(page, "new", "stores")
    assert page.read_text() == f"before\n{start}\nnew\n{end}\nafter\n"
    assert not report.write_between_markers(page, "new", "bench")
    page.write_text("no markers")
    assert not report.write_between_markers(page, "new")
    assert page.read_text() == "no markers"


def test_a_program_that_ends_early_is_reported_with_what_it_wrote():
    with (
        Program([PYTHON, "-c", "import sys; sys.exit('went wrong')"]) as program,
        pytest.raises(MeasurementFailed, match="ended with 1\nwent wrong"),
    ):
        program.figures(20)


def test_a_program_that_says_nothing_is_given_up_and_ended():
    with (
        Program([PYTHON, "-c", "import time; time.sleep(60)"]) as program,
        pytest.raises(MeasurementFailed, match="did not answer in time"),
    ):
        program.wait_ready(0.05)
    assert program._process.returncode is not None


async def test_measuring_keeps_the_window_full():
    at_once = most = 0

    async def call() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await load.asyncio.sleep(0)
        at_once -= 1

    figures = await load.measure(call, 8, 0.02)
    assert most == 8
    assert figures["rate"] > 0
    assert figures["p50_us"] <= figures["p99_us"]


def test_a_slow_blocking_peer_is_measured_for_as_long_as_a_window_takes():
    figures = load.measure_futures(lambda: None, lambda _: None, 5, 0.0)
    assert figures["rate"] > 0


def test_a_message_of_the_wrong_size_is_not_counted():
    with pytest.raises(ValueError, match="3 bytes, 4 expected"):
        load.Counter(4, 1.0).take(b"123")


def test_resident_memory_is_seen_to_grow():
    before = resident_bytes()
    ballast = b"x" * (32 << 20)
    assert resident_bytes() - before > len(ballast) * 0.9


def test_a_quick_run_measures_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "run.json"
    words = "memory.bare,memory.ion,step.ion,start.import"
    assert main(["--quick", "-k", words, "--output", str(output)]) == 0
    run = json.loads(output.read_text())
    assert run["figures"]["memory.ion"][0]["64"]["rate"] > 0
    assert run["failures"] == {}
    assert {"cpu", "cores", "kernel", "python"} <= run["machine"].keys()
    printed = capsys.readouterr().out
    assert "rpc in memory, sequential: of the bare asyncio actor" in printed
    assert "rpc over RabbitMQ" not in printed.split("### Goals")[1]


@pytest.mark.amqp
@pytest.mark.slow
def test_ion_and_the_c_client_make_the_same_exchange(tmp_path: Path):
    output = tmp_path / "run.json"
    words = "rpc.c,rpc.ion,oneway.send.1KB.c,oneway.send.1KB.ion"
    assert main(["--quick", "-k", words, "--output", str(output)]) == 0
    figures = json.loads(output.read_text())["figures"]
    assert figures["rpc.c"][0]["64"]["rate"] > 0
    assert figures["rpc.ion"][0]["64"]["rate"] > 0
    assert figures["oneway.send.1KB.c"][0]["rate"] > 0
    assert figures["oneway.send.1KB.ion"][0]["rate"] > 0


def test_the_payload_is_of_the_size_the_tables_name():
    from benchmarks.payload import record

    assert len(msgspec.msgpack.encode(record())) == RPC_BYTES
    assert json.loads(json.dumps(record())) == record()


def test_peers_are_pinned():
    lines = [line for line in tools.REQUIREMENTS.read_text().splitlines() if line[0] != "#"]
    assert all("==" in line for line in lines)
