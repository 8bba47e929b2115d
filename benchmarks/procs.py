"""The OS processes of a measurement: started, listened to with a deadline, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
READY_TIMEOUT = 30.0
STOP_TIMEOUT = 3.0


class MeasurementFailed(Exception):
    """A program of a measurement did not do what it should; the message ends in what it wrote."""


class Program:
    """One OS process with its output read line by line; a context manager that ends it.

    :param command: program and arguments.
    :param environment: added to a small environment of its own.
    """

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.command = command
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop()
        base = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        home = os.environ.get("HOME", "/tmp")
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**base, "HOME": home, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed by stop()
            for line in self._process.stdout:
                self._lines.put(line.strip())
        self._lines.put(None)

    def _line(self, deadline: float) -> str:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            message = self._told("did not answer in time")
            raise MeasurementFailed(message) from None
        if line is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            message = self._told(f"ended with {self._process.poll()}")
            raise MeasurementFailed(message)
        return line

    def _told(self, what: str) -> str:
        self._errors.seek(0)
        tail = self._errors.read()[-1500:].strip()
        return f"{' '.join(self.command)}: {what}\n{tail}"

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Return once the program has printed ``ready``.

        :raises MeasurementFailed: it ended, or said nothing within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while self._line(deadline) != "ready":
            pass

    def figures(self, timeout: float) -> Any:
        """Return the JSON object that the program prints.

        :raises MeasurementFailed: it ended, or printed none within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (line := self._line(deadline)).startswith("{"):
            pass
        return json.loads(line)

    def peak_mb(self) -> float:
        """Return the most resident memory it has had so far, MB; 0 where it has ended."""
        status = Path(f"/proc/{self._process.pid}/status")
        with contextlib.suppress(OSError):
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) / 1000, 1)
        return 0.0

    def stop(self) -> None:
        """End the program and what it started: SIGTERM, and SIGKILL where that takes too long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._signal(signal.SIGTERM)
            self._process.wait(STOP_TIMEOUT)
        self._signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._reader.join(1.0)
            self._process.stdout.close()
        self._errors.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
