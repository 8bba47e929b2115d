"""Both sides of the registry's benchmark find the same."""

from __future__ import annotations

from pathlib import Path

from benchmarks.registry import __main__ as program
from benchmarks.registry import byhand
from benchmarks.registry.sides import registry
from benchmarks.stores.turns import RATIO


async def test_the_sides_find_the_same(tmp_path: Path) -> None:
    bare = byhand.Sqlite(tmp_path / "bare.db")
    try:
        async with registry(f"sqlite:///{tmp_path}/ion.db") as ion:
            found = await program.measure(ion, bare, 200, 0.01)
    finally:
        bare.close()
    assert len(found) == 13
    assert all(figures[RATIO]["p99_us"] > 0 for figures in found.values())
    table = program.table({"sqlite": found})
    assert len(table.splitlines()) == 15
    assert "sqlite, by model, served" in table
