"""The rows: every variant that a round runs once, and how its programs are started."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

SIZES = {"1KB": 1024, "64KB": 65_536, "1MB": 1_048_576}
WINDOW = 64  # one way, confirmed: messages under way at once
RPC, MEMORY, ONE_WAY, SPAWN, START, STEP = "rpc", "memory", "oneway", "spawn", "start", "step"
SUPERVISION, STORES = "supervision", "stores"
C, OURS, PEERS = "c", "ours", "peers"  # what runs a row: the C program, our Python, the peers'


@dataclass(frozen=True)
class Row:
    """One variant.

    :ivar key: unique; ``<group>.<name>``, for one way ``oneway.<mode>.<size>.<name>``.
    :ivar label: how the tables call it.
    :ivar runner: C, OURS or PEERS.
    :ivar module: file of ``benchmarks.peers``, or ``stores.<file>`` (not for C).
    :ivar options: further options of its programs.
    :ivar broker: whether it is a pair of programs that talk over the broker.
    """

    key: str
    label: str
    runner: str
    module: str = ""
    options: tuple[tuple[str, str], ...] = ()
    broker: bool = True

    @property
    def group(self) -> str:
        """RPC, MEMORY, ONE_WAY, SPAWN, START, STEP, SUPERVISION or STORES."""
        return self.key.split(".", 1)[0]

    @property
    def name(self) -> str:
        """What tells it from the others of its table."""
        return self.key.rsplit(".", 1)[1]

    @property
    def program(self) -> str:
        """The module that is run (not for C)."""
        folder = "" if self.group == STORES else "peers."
        return f"benchmarks.{folder}{self.module}"


def _options(**options: object) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in options.items())


UVLOOP = _options(loop="uvloop")
PLAIN_LABEL = "**ION**, `broker.lean: false`"

RPC_ROWS = (
    Row("rpc.c", "C client and server (librabbitmq): the limit", C),
    Row("rpc.ion", "**ION**", OURS, "ion_rpc"),
    Row("rpc.ion_uvloop", "**ION** on uvloop", OURS, "ion_rpc", UVLOOP),
    Row("rpc.ion_plain", PLAIN_LABEL, OURS, "ion_rpc", _options(variant="plain")),
    Row("rpc.aiormq", "raw aiormq, hand-written rpc", PEERS, "aiormq_rpc"),
    Row("rpc.aio_pika", "aio-pika `patterns.RPC`", PEERS, "aio_pika_rpc"),
    Row("rpc.faststream", "FastStream `broker.request`", PEERS, "faststream_rpc"),
    Row("rpc.celery", "Celery `delay().get()`, solo worker", PEERS, "celery_rpc"),
    Row("rpc.nameko", "Nameko `ClusterRpcClient`", PEERS, "nameko_rpc"),
)


def _local(
    key: str,
    label: str,
    runner: str,
    module: str,
    options: tuple[tuple[str, str], ...] = (),
) -> Row:
    return Row(key, label, runner, module, options, broker=False)


MEMORY_ROWS = (
    _local(
        "memory.bare", "bare asyncio actor: queue and task, nothing encoded", OURS, "bare_actor"
    ),
    _local("memory.bare_uvloop", "the same on uvloop", OURS, "bare_actor", UVLOOP),
    _local("memory.ion", "**ION**, content encoded", OURS, "ion_rpc"),
    _local("memory.ion_uvloop", "**ION** on uvloop, content encoded", OURS, "ion_rpc", UVLOOP),
    _local("memory.pykka", "Pykka, threads", PEERS, "pykka_actor"),
    _local(
        "memory.thespian",
        "Thespian `simpleSystemBase`, a synchronous call",
        PEERS,
        "thespian_actor",
    ),
    _local("memory.xoscar", "xoscar, one pool", PEERS, "xoscar_actor"),
)

SMALL_ROWS = (
    _local("spawn.ion", "**ION** process, idle", OURS, "ion_spawn"),
    _local("spawn.bare", "bare asyncio actor: queue and task", OURS, "bare_spawn"),
    _local("start.import", "`import ion`", OURS, "ion_startup", _options(variant="import")),
    _local(
        "start.hello",
        "`ioncc -n hello` to its ready line",
        OURS,
        "ion_startup",
        _options(variant="hello"),
    ),
    _local(
        "start.hello_rel",
        "`ioncc -n hello.rel` to its ready line",
        OURS,
        "ion_startup",
        _options(variant="hello.rel"),
    ),
    _local(
        "step.ion",
        "state machine step, compiled table",
        OURS,
        "fsm_step",
        _options(variant="table"),
    ),
    _local(
        "step.transitions",
        "the same step on `transitions`",
        OURS,
        "fsm_step",
        _options(variant="machine"),
    ),
)

SUPERVISION_ROWS = tuple(
    _local(f"supervision.{key}", label, OURS, "ion_supervision", _options(variant=key))
    for key, label in (
        ("process", "a crashed process is back, beyond its back-off"),
        ("service", "a crashed service is back, beyond its back-off"),
        ("many", "10,000 supervised processes"),
    )
)

# A mode of one way is what a message is promised; only rows of one mode are compared.
BLAST, CONFIRMED, SEND, GRANULES = "blast", "confirmed", "send", "granules"
MODES = {
    BLAST: "transient, no confirms, no acks",
    CONFIRMED: f"transient, confirmed ({WINDOW} under way), acknowledged",
    SEND: f"persistent, mandatory, confirmed ({WINDOW} under way), acknowledged after the handler",
    GRANULES: f"of a stream: transient, confirmed ({WINDOW} under way), acknowledged",
}
_C_MODES = {
    BLAST: _options(confirm=0, ack=0),
    CONFIRMED: _options(confirm=1, window=WINDOW, ack=1),
    SEND: _options(confirm=1, window=WINDOW, ack=1, persistent=1),
    GRANULES: _options(confirm=1, window=WINDOW, ack=1),
}


def _granules(size: str) -> list[Row]:
    """Return streams beside raw publish and consume of as many bytes."""
    key, bytes_ = f"oneway.{GRANULES}.{size}", _options(size=SIZES[size])
    common = bytes_ + _options(window=WINDOW)
    raw = common + _options(variant=CONFIRMED)
    return [
        Row(f"{key}.c", "raw, C pair (librabbitmq)", C, "", bytes_ + _C_MODES[GRANULES]),
        Row(f"{key}.raw", "raw, ION's transport", OURS, "ion_oneway", raw),
        Row(f"{key}.ion", "**ION** stream of granules", OURS, "ion_stream", common),
        Row(f"{key}.ion_uvloop", "the same on uvloop", OURS, "ion_stream", common + UVLOOP),
        Row(f"{key}.aiormq", "raw aiormq", PEERS, "aiormq_oneway", common),
    ]


def _one_way(mode: str, size: str) -> list[Row]:
    key, bytes_ = f"oneway.{mode}.{size}", _options(size=SIZES[size])
    window = _options(window=0 if mode == BLAST else WINDOW)
    common = bytes_ + window
    rows = [
        Row(f"{key}.c", "C pair (librabbitmq)", C, "", bytes_ + _C_MODES[mode]),
        Row(f"{key}.ion", "**ION**", OURS, "ion_oneway", common + _options(variant=mode)),
    ]
    ours = common + _options(variant=mode)
    if mode != CONFIRMED:
        rows.append(
            Row(f"{key}.ion_uvloop", "**ION** on uvloop", OURS, "ion_oneway", ours + UVLOOP)
        )
    if mode != BLAST:
        plain = common + _options(variant=f"plain-{mode}")
        rows.append(Row(f"{key}.ion_plain", PLAIN_LABEL, OURS, "ion_oneway", plain))
    promised = common + _options(persistent=int(mode == SEND))
    rows.append(Row(f"{key}.aiormq", "raw aiormq", PEERS, "aiormq_oneway", promised))
    if mode != SEND:
        rows.append(Row(f"{key}.aio_pika", "aio-pika", PEERS, "aio_pika_oneway", common))
    if mode == BLAST:
        rows.append(Row(f"{key}.pika", "pika, blocking", PEERS, "pika_oneway", common))
    return rows


# ION and the bare driver are measured in turns by one program, or, blobs, by two rows.
ENGINES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "redis": "Redis"}
BLOB_ENGINES = ("sqlite", "postgres")
ENGINE_ROWS = tuple(
    _local(f"stores.{name}", label, OURS, "stores.engine", _options(variant=name))
    for name, label in ENGINES.items()
)
BLOB_ROWS = tuple(
    _local(f"stores.{name}.blob.{side}", label, OURS, "stores.blobs", options)
    for name in BLOB_ENGINES
    for side, label in (
        ("ion", f"**ION** on {ENGINES[name]}"),
        ("bare", f"bare driver of {ENGINES[name]}"),
    )
    for options in (_options(variant=f"{name}-{side}"),)
)
CLONE_ROWS = (
    _local("stores.clone", "clone of 100,000 elements over RabbitMQ", OURS, "stores.clone"),
)
STORE_ROWS = ENGINE_ROWS + BLOB_ROWS + CLONE_ROWS

ONE_WAY_ROWS = (
    *(row for mode in MODES if mode != GRANULES for size in SIZES for row in _one_way(mode, size)),
    *_granules("64KB"),
)
ALL_ROWS = RPC_ROWS + MEMORY_ROWS + ONE_WAY_ROWS + SMALL_ROWS + SUPERVISION_ROWS + STORE_ROWS


def _matches(key: str, word: str) -> bool:
    return fnmatchcase(key, word) or fnmatchcase(key, f"{word}.*") or word in key.split(".")


def selected(expression: str) -> tuple[Row, ...]:
    """Return the rows that one of the comma-separated words names (all, where there is none).

    A word is a key, the beginning of one, or one part of it (``rpc``, ``rpc.ion``, ``oneway.send``,
    ``1MB``, ``ion_uvloop``); ``*`` stands for anything.
    """
    words = [word.strip() for word in expression.split(",") if word.strip()]
    return tuple(
        row for row in ALL_ROWS if not words or any(_matches(row.key, word) for word in words)
    )
