"""A private PostgreSQL server, with a database for every test."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ion.base.errors import StartError
from ion.testing.servers.private import PrivateServer, find_binary

_USER = "ion"
_ROOT = 0
# Without fsync the data survives a kill of the server, though not of the machine.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "logging_collector": "off",
}


class PostgresServer(PrivateServer):
    """A PostgreSQL server of its own; as root it runs as user ``postgres`` (or ``nobody``).

    :param settings: of the server, instead of those that make tests quick.
    """

    binary = "postgres"
    package = "postgresql"

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._user = _service_user() if os.geteuid() == _ROOT else None
        self._numbers = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{_USER}@{self.host}:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"t{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement with ``psql`` and return its output, unaligned, without headings.

        :raises StartError: it failed; the message is the server's.
        """
        command = [self._program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]
        command.append(self.url(database))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"{statement}: {done.stderr.strip()}"
            raise StartError(message)
        return done.stdout.rstrip("\n")

    def _launch(self) -> subprocess.Popen[bytes]:
        server = self._program("postgres")
        data = self.folder / "data"
        if not data.exists():
            self._make_data(data)
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        place = ["-D", str(data), "-h", self.host, "-p", str(self.port), "-k", str(self.folder)]
        return self._popen([server, *place, *settings], user=self._user)

    def _make_data(self, data: Path) -> None:
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        command = [self._program("initdb"), "-D", str(data), "-U", _USER, "-A", "trust"]
        made = self._popen([*command, "-E", "UTF8", "--no-sync", "--locale=C"], user=self._user)
        if made.wait(60):
            message = f"initdb failed: ...{self._log_tail()}"
            raise StartError(message)

    def _program(self, name: str) -> str:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
        return find_binary(name, self.package, *map(str, versions))

    def _is_up(self) -> bool:
        return super()._is_up() and self._answers()

    def _answers(self) -> bool:
        try:
            return self.sql("SELECT 1") == "1"
        except StartError:
            return False  # still recovering

    def _request_stop(self) -> None:
        os.kill(self.pid, signal.SIGINT)  # "fast": does not wait for clients to go

    def close(self) -> None:
        """Stop, and remove the folder. May be called twice."""
        if self.running:
            self.stop(5.0)  # not killed: its shared memory is given back
        super().close()


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(word) for word in folder.parent.name.split(".") if word.isdigit())


def _service_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
