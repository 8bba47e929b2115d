"""How long ION takes to be there: ``import ion`` in a fresh interpreter, ``ioncc`` to its line.

Variants: ``import`` (seconds of the import statement alone; fails where it drags in what it must
not), ``hello`` and ``hello.rel`` (seconds from starting ``ioncc -n`` to the ready line).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import role

HEAVY = ("aio_pika", "aiormq", "google.protobuf", "asyncpg", "redis", "sqlite3", "ptpython", "rich")
IMPORT = """
import time
begun = time.perf_counter()
from ion import Container
elapsed = time.perf_counter() - begun
import sys
heavy = [name for name in {heavy!r} if name in sys.modules]
sys.exit("importing ion brought in " + ", ".join(heavy)) if heavy else print(elapsed)
"""


def import_seconds() -> float:
    """Return what ``from ion import ...`` takes; an error where it imports a heavy library."""
    code = IMPORT.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=role.PATIENCE,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def ready_seconds(start: str) -> float:
    """Return the time from starting ``ioncc -n START`` to its ready line."""
    ioncc = str(Path(sys.executable).with_name("ioncc"))
    with tempfile.TemporaryDirectory() as home:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [ioncc, "-n", start, "--set", f"store.url=sqlite:///{home}/store"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("ready "):
                elapsed = time.perf_counter() - begun
                break
        else:
            sys.exit(f"ioncc -n {start} ended with {process.wait(role.PATIENCE)}, not ready")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=role.PATIENCE)
    return elapsed


if __name__ == "__main__":
    o = role.options()
    seconds = import_seconds() if o.variant == "import" else ready_seconds(o.variant)
    role.report({"seconds": round(seconds, 4)})
