"""The goals: what was promised, the figure that was measured, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.medians import Results
from benchmarks.rows import BLAST, BLOB_ENGINES, CONFIRMED, ENGINES, GRANULES, SEND, SIZES

# 64 messages of 1 MB under way, encoded and framed, are 128 MB; the interpreter and ION are 40.
PUBLISHER_MB = 200
Measure = Callable[[Results], float | None]


@dataclass(frozen=True)
class Goal:
    """One promise.

    :ivar what: for people.
    :ivar measure: the figure, or None where it was not measured.
    :ivar bound: what it is held against.
    :ivar at_least: whether the figure must be at least the bound, or at most.
    :ivar unit: of figure and bound.
    """

    what: str
    measure: Measure
    bound: float
    at_least: bool = True
    unit: str = "x"

    def verdict(self, results: Results) -> tuple[float | None, str]:
        """Return the figure (None where it was not measured), and whether the goal holds."""
        value = self.measure(results)
        if value is None:
            return None, "not measured"
        good = value >= self.bound if self.at_least else value <= self.bound
        return value, "holds" if good else "does not hold"

    def wanted(self) -> str:
        """Return the bound in words."""
        return f"at {'least' if self.at_least else 'most'} {self.bound:g} {self.unit}".rstrip()


def _ratio(key: str, reference: str, figure: str) -> Measure:
    return lambda results: results.ratio(key, reference, figure)


def _median(key: str, figure: str, factor: float = 1.0) -> Measure:
    def measure(results: Results) -> float | None:
        value = results.median(key, figure)
        return None if value is None else value * factor

    return measure


def _over_best(key: str, references: list[str], figure: str) -> Measure:
    def measure(results: Results) -> float | None:
        ratios = [results.ratio(key, reference, figure) for reference in references]
        known = [ratio for ratio in ratios if ratio is not None]
        return min(known) if known else None

    return measure


def _worst(keys: list[str], figure: str) -> Measure:
    def measure(results: Results) -> float | None:
        return max((value for key in keys for value in results.values(key, figure)), default=None)

    return measure


def _one_way() -> Iterator[Goal]:
    names = {BLAST: "transport", CONFIRMED: "transport, confirmed", SEND: "`send` to an op"}
    for mode, name in names.items():
        for size in ("1KB", "64KB"):
            key = f"oneway.{mode}.{size}"
            what = f"one way {size}, {name}: of the C pair with the same promises"
            yield Goal(what, _ratio(f"{key}.ion", f"{key}.c", "rate"), 0.5)
    for mode in (BLAST, CONFIRMED):
        key = f"oneway.{mode}.1MB"
        peers = [f"{key}.{peer}" for peer in ("aiormq", "aio_pika", "pika")]
        what = f"one way 1MB, {names[mode]}: of the best Python client"
        yield Goal(what, _over_best(f"{key}.ion", peers, "rate"), 1.0)
    for mode in (CONFIRMED, SEND):
        for size in SIZES:
            key = f"oneway.{mode}.{size}"
            what = f"one way {size}, {names[mode]}: of raw aiormq with the same window"
            yield Goal(what, _ratio(f"{key}.ion", f"{key}.aiormq", "rate"), 0.8)
    key = f"oneway.{GRANULES}.64KB"
    raw = {"c": "the C pair", "raw": "ION's transport", "aiormq": "raw aiormq"}
    for name, label in raw.items():
        what = f"stream of 64KB granules: of {label}, publish and consume of as many bytes"
        yield Goal(what, _ratio(f"{key}.ion", f"{key}.{name}", "rate"), 0.8)
    most = _worst([f"oneway.{mode}.{size}.ion" for mode in names for size in SIZES], "publisher_mb")
    yield Goal(
        "one way, all of these: peak memory of the publisher", most, PUBLISHER_MB, False, "MB"
    )


STORE_CALLS = {
    "get1": "get of 1 KB, 1 caller",
    "put1": "acknowledged put of 1 KB, 1 caller",
    "get64": "get, 64 callers",
    "put64": "acknowledged put, 64 callers",
}
QUERIES = {"equal": "the 20 of a kind", "page": "20 in the order of an index"}
GROWS_MIB = 64


def _stores() -> Iterator[Goal]:
    for key, engine in ENGINES.items():
        for call, name in STORE_CALLS.items():
            what = f"{engine}, {name}: of the bare driver"
            yield Goal(what, _median(f"stores.{key}", f"ratio.{call}.rate"), 0.8)
        for call, name in QUERIES.items():
            what = f"{engine}, query among 100,000, {name}: p50 of the hand-written one's"
            yield Goal(what, _median(f"stores.{key}", f"ratio.{call}.p50_us"), 1.5, False)
    for key in BLOB_ENGINES:
        ion, bare = f"stores.{key}.blob.ion", f"stores.{key}.blob.bare"
        for way in ("in", "out"):
            what = f"{ENGINES[key]}, a blob of 1 GiB {way}: of the bare driver"
            yield Goal(what, _ratio(ion, bare, f"{way}_mb_s"), 0.8)
            yield Goal("the same: memory grown", _worst([ion], f"{way}_grown_mib"), *_memory())
    clone = _worst(["stores.clone"], "grown_mib")
    yield Goal("clone of 100,000 elements: memory grown", clone, *_memory())
    yield Goal(
        "the same: requests of a second pull",
        _worst(["stores.clone"], "again"),
        1,
        at_least=False,
        unit="",
    )


def _memory() -> tuple[float, bool, str]:
    return GROWS_MIB, False, "MiB"


GOALS = (
    Goal("rpc, 64 callers: of the C client", _ratio("rpc.ion", "rpc.c", "64.rate"), 0.35),
    Goal(
        "rpc, 64 callers: of aio-pika `patterns.RPC`",
        _ratio("rpc.ion", "rpc.aio_pika", "64.rate"),
        7,
    ),
    Goal("rpc, 64 callers: of FastStream", _ratio("rpc.ion", "rpc.faststream", "64.rate"), 20),
    Goal("rpc, 64 callers: of Nameko", _ratio("rpc.ion", "rpc.nameko", "64.rate"), 30),
    Goal(
        "rpc, sequential p50: of the C client's",
        _ratio("rpc.ion", "rpc.c", "1.p50_us"),
        2.5,
        at_least=False,
    ),
    *_one_way(),
    Goal(
        "rpc in memory, sequential: of the bare asyncio actor",
        _ratio("memory.ion", "memory.bare", "1.rate"),
        0.3,
    ),
    Goal("the same: of Pykka", _ratio("memory.ion", "memory.pykka", "1.rate"), 1.0),
    Goal("the same: of xoscar", _ratio("memory.ion", "memory.xoscar", "1.rate"), 1.0),
    Goal("idle process: time to spawn", _median("spawn.ion", "us"), 40, False, "us"),
    Goal(
        "idle process: memory",
        _median("spawn.ion", "bytes", 1 / 1024),
        6,
        at_least=False,
        unit="KB",
    ),
    Goal(
        "idle process that has worked once: memory",
        _median("spawn.ion", "worked_bytes", 1 / 1024),
        6,
        at_least=False,
        unit="KB",
    ),
    Goal("state machine step", _median("step.ion", "us"), 0.3, at_least=False, unit="us"),
    Goal(
        "a crashed process is back: p99, beyond its back-off",
        _median("supervision.process", "p99_ms"),
        50,
        at_least=False,
        unit="ms",
    ),
    Goal(
        "a crashed service is back: p99, beyond its back-off",
        _median("supervision.service", "p99_ms"),
        50,
        at_least=False,
        unit="ms",
    ),
    Goal(
        "10,000 supervised processes stop in order",
        _median("supervision.many", "stop_seconds"),
        5,
        at_least=False,
        unit="s",
    ),
    Goal("`import ion`", _median("start.import", "seconds"), 0.3, at_least=False, unit="s"),
    Goal("`ioncc -n hello` ready", _median("start.hello", "seconds"), 1.5, False, "s"),
    Goal("`ioncc -n hello.rel` ready", _median("start.hello_rel", "seconds"), 1.5, False, "s"),
    *_stores(),
)
