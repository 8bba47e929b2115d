"""Run rows: each in programs of its own, on a private broker that is empty again afterwards."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from benchmarks import rows, tools
from benchmarks.payload import RPC_BYTES, record
from benchmarks.procs import Program
from benchmarks.rows import Row
from ion.testing.servers import RabbitServer

PATIENCE = 60.0  # seconds for a row's figures, beyond its measuring
STORES_PATIENCE = 600.0  # further seconds to fill stores of full size
# `catch`: an exclusive queue may go with its connection in the same moment.
EMPTY_BROKER = (
    '[catch rabbit_amqqueue:delete(Q, false, false, <<"bench">>) '
    "|| Q <- rabbit_amqqueue:list()], ok"
)


class Bench:
    """What the rows need, made on entry: broker, C program, peers, payload.

    :param needed: the rows that will be run; only what they need is made.
    :param seconds: length of one measurement.
    :param scale: of what is large in the rows of stores: 1 is a blob of 1 GiB.
    """

    def __init__(self, needed: tuple[Row, ...], seconds: float, scale: float = 1.0) -> None:
        self.needed = needed
        self.seconds = seconds
        self.scale = scale
        self.broker: RabbitServer | None = None
        self.versions: dict[str, str] = {}
        self._rooms = ExitStack()
        self._body = Path()

    def __enter__(self) -> Bench:
        runners = {row.runner for row in self.needed}
        folder = self._rooms.enter_context(tempfile.TemporaryDirectory())
        self._body = Path(folder) / "request"
        self._body.write_bytes(_payload())
        if rows.C in runners:
            tools.build_c()
        if rows.PEERS in runners:
            tools.make_peers()
        if any(row.broker for row in self.needed):
            self.broker = RabbitServer()
            self._rooms.enter_context(self.broker)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rooms.close()

    def run(self, row: Row) -> Any:
        """Run one row and return its figures.

        :raises MeasurementFailed: a program of it failed or did not answer in time.
        """
        if not row.broker:
            with Program(self._command(row, "local")) as program:
                return program.figures(self._patience(row))
        try:
            return self._run_pair(row)
        finally:
            assert self.broker is not None
            self.broker.eval(EMPTY_BROKER)

    def _patience(self, row: Row) -> float:
        if row.group == rows.STORES:
            return PATIENCE + 20 * self.seconds + STORES_PATIENCE * self.scale
        return PATIENCE + 4 * self.seconds

    def _run_pair(self, row: Row) -> Any:
        one_way = row.group == rows.ONE_WAY
        first, second = ("sub", "pub") if one_way else ("server", "client")
        with Program(self._command(row, first)) as taker:
            taker.wait_ready()
            with Program(self._command(row, second)) as giver:
                patience = PATIENCE + 4 * self.seconds
                if not one_way:
                    return giver.figures(patience)
                return taker.figures(patience) | {"publisher_mb": giver.peak_mb()}

    def _command(self, row: Row, role: str) -> list[str]:
        if row.runner == rows.C:
            return [str(tools.C_PROGRAM), role, *self._c_options(row)]
        python = tools.PEERS_PYTHON if row.runner == rows.PEERS else tools.OURS_PYTHON
        command = [str(python), "-m", row.program, role]
        command += ["--seconds", str(self.seconds)]
        if row.group == rows.STORES:
            command += ["--scale", str(self.scale)]
        if row.broker and self.broker is not None:
            command += ["--url", self.broker.url()]
        for name, value in row.options:
            command += [f"--{name}", value]
        return command

    def _c_options(self, row: Row) -> list[str]:
        assert self.broker is not None
        options = [f"url={self.broker.url()}", f"body={self._body}", f"seconds={self.seconds}"]
        return options + [f"{name}={value}" for name, value in row.options]


def _payload() -> bytes:
    body = msgspec.msgpack.encode(record())
    assert len(body) == RPC_BYTES, len(body)
    return body
