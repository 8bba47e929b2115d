"""The comparison with IOWarp: its side that is ours runs, and what its figures come to."""

from __future__ import annotations

from benchmarks.contexts import sides
from benchmarks.contexts.__main__ import ROWS, goals, medians, ratio, table


def test_our_side_gives_the_figures_of_its_part():
    with sides.files(sizes=()) as folder:
        found = sides.run(sides.ION, folder, "small")
    wanted = {figure for figure in ROWS if not figure.endswith(("_mib_s", "_1_ms", "6_ms", "8_ms"))}
    assert wanted <= found.keys()
    assert all(value > 0 for value in found.values())


def test_a_peer_that_crashes_keeps_what_it_gave_before(tmp_path, monkeypatch):
    program = tmp_path / "side.py"
    program.write_text("import os\nprint('{\"start_s\": 2.5}', flush=True)\nos.abort()\n")
    monkeypatch.setattr(sides, "PROGRAM", program)
    monkeypatch.setattr(sides, "PEERS_VENV", tmp_path)
    home = tmp_path / "iowarp-1.0.3"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sides.ION.python())
    (home / "installed").touch()
    found = sides.run(sides.OLD, tmp_path, "small")
    assert found == {"start_s": 2.5, sides.CRASHED: sides.ATTEMPTS}


def test_ratios_are_over_one_where_ours_is_faster():
    seen = {
        "ion": {"bundle_1_mib_s": [100.0, 300.0, 200.0], "query_one_ms": [0.5]},
        "1.0.3": {"bundle_1_mib_s": [100.0], "query_one_ms": [5.0], "peak_mib": [1.0, 9.0, 2.0]},
        "2.3.2": {"query_one_ms": [0.25]},
    }
    found = medians(seen)
    assert found["1.0.3"]["peak_mib"] == 9.0
    assert ratio(found, "bundle_1_mib_s", "1.0.3") == 2
    assert ratio(found, "query_one_ms", "1.0.3") == 10
    assert ratio(found, "query_one_ms", "2.3.2") == 0.5
    assert ratio(found, "query_all_ms", "2.3.2") is None
    said = goals(found)
    assert "query one blob of one tag: faster than 1.0.3: holds (10.0 x)" in said
    assert "query one blob of one tag: no slower than 2.3.2: does not hold (0.5 x)" in said
    assert "retrieve one blob of 4 KiB" in table(found)
