"""The tables of the stores' rows."""

from __future__ import annotations

from benchmarks import rows
from benchmarks.medians import Results
from benchmarks.reach import QUERIES, STORE_CALLS
from benchmarks.tables import rate, ratio, table, with_best

AT_ONCE = {
    "get64_at_once": "get, 64 callers, against one MGET for all that wait",
    "put64_at_once": "put, 64 callers, against one MSET for all that wait",
}


def parts(results: Results) -> dict[str, str]:
    """Return the tables by their titles; those that have no line are nothing but a head."""
    return {
        "Stores: values of 1 KB, and the bare driver doing the same": _calls(results),
        "Stores: queries for 20 of 100,000 records, and the hand-written ones": _queries(results),
        "Stores: a blob of 1 GiB": _blobs(results),
        "Stores: a clone of 100,000 elements over RabbitMQ": _clone(results),
    }


def short(results: Results) -> str:
    """Return two lines for the README."""
    words = []
    for row in rows.ENGINE_ROWS:
        ratios = [results.median(row.key, f"ratio.{call}.rate") for call in STORE_CALLS]
        words.append(f"{row.label} {' / '.join(map(ratio, ratios))}")
    blobs = []
    for key in rows.BLOB_ENGINES:
        ion, bare = f"stores.{key}.blob.ion", f"stores.{key}.blob.bare"
        ways = [ratio(results.ratio(ion, bare, f"{way}_mb_s")) for way in ("in", "out")]
        blobs.append(f"{rows.ENGINES[key]} {' / '.join(ways)}")
    queries = []
    for row in rows.ENGINE_ROWS:
        times = [results.median(row.key, f"ratio.{call}.p50_us") for call in QUERIES]
        queries.append(f"{row.label} {' / '.join(map(ratio, times))}")
    return (
        "Stores, of the bare driver's rate in the same run, 1 KB (get / put of one caller, get / "
        f"put of 64): {'; '.join(words)}.\n"
        f"A blob of 1 GiB (in / out): {'; '.join(blobs)}. A query for 20 of 100,000 records takes, "
        f"times the hand-written one (by kind / by order): {'; '.join(queries)}."
    )


def _calls(results: Results) -> str:
    body = []
    for row in rows.ENGINE_ROWS:
        for call, name in (STORE_CALLS | AT_ONCE).items():
            if results.values(row.key, f"ion.{call}.rate"):
                body.append(
                    [
                        f"{row.label}: {name}",
                        with_best(results, row.key, f"ion.{call}.rate"),
                        with_best(results, row.key, f"bare.{call}.rate"),
                        ratio(results.median(row.key, f"ratio.{call}.rate")),
                    ]
                )
    return table(["", "**ION** /s", "bare /s", "ratio"], body)


def _queries(results: Results) -> str:
    body = []
    for row in rows.ENGINE_ROWS:
        for call, name in QUERIES.items():
            if results.values(row.key, f"ion.{call}.rate"):
                ratios = (results.median(row.key, f"ratio.{call}.{p}_us") for p in ("p50", "p99"))
                body.append(
                    [
                        f"{row.label}: {name}",
                        _times(results, row.key, f"ion.{call}"),
                        _times(results, row.key, f"bare.{call}"),
                        " / ".join(map(ratio, ratios)),
                    ]
                )
    return table(["", "**ION** p50 / p99 µs", "bare p50 / p99 µs", "ratio"], body)


def _times(results: Results, key: str, of: str) -> str:
    return " / ".join(rate(results.median(key, f"{of}.{p}_us")) for p in ("p50", "p99"))


def _blobs(results: Results) -> str:
    body = []
    for row in rows.BLOB_ROWS:
        if not results.values(row.key, "in_mb_s"):
            continue
        bare = row.key.rsplit(".", 1)[0] + ".bare"
        line = [row.label]
        for way in ("in", "out"):
            share = ratio(results.ratio(row.key, bare, f"{way}_mb_s"))
            line.append(f"{with_best(results, row.key, f'{way}_mb_s')} ({share})")
        most = [max(results.values(row.key, f"{way}_grown_mib")) for way in ("in", "out")]
        body.append([*line, " / ".join(map(rate, most))])
    head = ["", "in MB/s (of bare)", "out MB/s (of bare)", "memory grown at its most, in / out MiB"]
    return table(head, body)


def _clone(results: Results) -> str:
    figures = {
        "elements": "elements that travelled",
        "mb": "MB that travelled",
        "seconds": "seconds",
        "rate": "elements/s",
        "grown_mib": "MiB by which the cloner's memory grew, at its most",
        "again": "requests of a second pull of the unchanged object",
        "again_ms": "ms of it",
        "changed": "elements that travelled after one part was changed",
    }
    (row,) = rows.CLONE_ROWS
    body = []
    for name, label in figures.items():
        median, best = results.median(row.key, name), results.best(row.key, name)
        if median is not None and best is not None:
            body.append([label, _number(median), _number(best)])
    return table(["", "median", "best"], body)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
