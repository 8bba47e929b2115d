"""Where and with what a run was made: machine, versions, date, revision."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import rows, tools
from benchmarks.procs import ROOT
from ion.base.errors import StartError
from ion.base.version import __version__
from ion.testing.servers import PostgresServer, RabbitServer, RedisServer
from ion.testing.servers.private import find_binary

OUR_PARTS = ["aio-pika", "aiormq", "msgspec", "transitions", "uvloop"]
PEERS = ["aio-pika", "aiormq", "celery", "faststream", "nameko", "pika", "pykka", "thespian"]
PEERS += ["xoscar", "uvloop"]
STORE_PARTS = ["asyncpg", "redis"]
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def describe() -> dict[str, Any]:
    """Return processor, cores, memory, kernel, Python and present load of this machine."""
    return {
        "cpu": _after("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "memory_gb": round(int((_after("/proc/meminfo", "MemTotal") or "0").split()[0]) / 1e6, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions(needed: tuple[rows.Row, ...], broker: RabbitServer | None) -> dict[str, str]:
    """Return the versions of all that took part."""
    found = {"ioncore": f"{__version__} ({_revision()})"}
    found |= tools.versions_in(str(tools.OURS_PYTHON), OUR_PARTS)
    runners = {row.runner for row in needed}
    if rows.PEERS in runners:
        found |= {
            f"{name} (peer)" if name in found else name: version
            for name, version in tools.versions_in(str(tools.PEERS_PYTHON), PEERS).items()
        }
    if rows.C in runners:
        found["librabbitmq"] = tools.c_version()
    if broker is not None:
        found["RabbitMQ"] = broker.eval("rabbit_misc:version()").strip('"')
        found["Erlang/OTP"] = broker.eval("erlang:system_info(otp_release)").strip('"')
    if any(row.group == rows.STORES for row in needed):
        found |= tools.versions_in(str(tools.OURS_PYTHON), STORE_PARTS)
        found |= {"SQLite": sqlite3.sqlite_version} | _servers()
    return found


def _servers() -> dict[str, str]:
    """Return the versions of the servers of stores, as far as they are there."""
    found = {}
    for name, kind in {"PostgreSQL": PostgresServer, "Redis": RedisServer}.items():
        with contextlib.suppress(StartError):
            program = find_binary(kind.binary, kind.package, *map(str, POSTGRES))
            done = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            )
            version = re.search(r"\d+(\.\d+)+", done.stdout)
            found[name] = version.group() if version else "unknown"
    return found


def now() -> str:
    """Return the time, UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _after(file: str, key: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no revision"
