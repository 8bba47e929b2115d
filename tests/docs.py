"""Run what the documentation shows; ``python -m tests.docs PAGE SANDBOX`` runs one page.

The blocks of a page run in order, in one process and one sandbox folder:

- ``python``: run, with top-level await; the blocks of a page share their names.
- ``bash``: run as a script, which must succeed. ``console``: each line after ``$`` is run, and the
  lines below it must be what it prints.
- ``text output``: what the block before it printed. ``...`` stands for anything.
- ``yaml``, ``json``, ``toml``: must be read without an error.
- ``LANGUAGE file=NAME``: kept as that file in the sandbox, not run; apps and rels are checked.
- ``no-run``: not run; an HTML comment beside the block, ``<!-- no-run: why -->``, says why.

A page with ``<!-- needs: rabbitmq -->`` runs with a broker: ``amqp://guest:guest@localhost/`` in it
is the broker of the environment variable ``DOCS_AMQP``.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import linecache
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

COMMAND_SECONDS = 60
BROKER = "amqp://guest:guest@localhost/"
SHOWN_ONLY = {"text", "mermaid", "protobuf", "c", "ini", "javascript", "html"}

_FENCE = re.compile(r"^(?P<indent> {0,3})```(?P<info>[^`]*)$")
_REASON = re.compile(r"<!-- no-run: \S.*-->")


class Wrong(Exception):
    """A block does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """A code block: the words after the fence, the text, and the line where it begins."""

    words: tuple[str, ...]
    text: str
    line: int
    has_reason: bool

    @property
    def language(self) -> str:
        """The first word."""
        return self.words[0] if self.words else ""

    @property
    def file(self) -> str:
        """The name of the file that it stands for, or ""."""
        return next((w.removeprefix("file=") for w in self.words if w.startswith("file=")), "")


def pages(root: Path) -> list[Path]:
    """Return all pages of the documentation below ``root``."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """Give the code blocks of a page."""
    lines = text.splitlines()
    start = -1
    info = ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start < 0:
            start, info = number + 1, fence["info"]
        elif not fence["info"].strip():
            beside = _beside(lines, start - 2, -1) + _beside(lines, number + 1, 1)
            body = "\n".join([*lines[start:number], ""])
            yield Block(tuple(info.split()), body, start + 1, bool(_REASON.search(beside)))
            start = -1
    if start >= 0:
        yield Block(("unclosed",), "", start, has_reason=False)


def _beside(lines: list[str], at: int, step: int) -> str:
    """Return the first line with something on it, going ``step`` from ``at``."""
    while 0 <= at < len(lines) and not lines[at].strip():
        at += step
    return lines[at] if 0 <= at < len(lines) else ""


class Page:
    """Runs the blocks of one page."""

    def __init__(self, path: Path, sandbox: Path) -> None:
        self.path = path
        self.sandbox = sandbox
        self.text = path.read_text(encoding="utf-8")
        if "<!-- needs: rabbitmq -->" in self.text:
            self.text = self.text.replace(BROKER, os.environ["DOCS_AMQP"])
        self.printed = ""
        self.module = types.ModuleType("__main__")
        self.ways: dict[str, Callable[[Block, asyncio.Runner], None]] = {
            "python": self._python,
            "bash": self._bash,
            "console": self._console,
            "text": self._output,
            "yaml": self._data(yaml.safe_load),
            "json": self._data(json.loads),
            "toml": self._data(tomllib.loads),
        }

    def run(self) -> None:
        """Run all blocks in the sandbox.

        :raises Wrong: a block fails; the message begins with ``file:line``.
        """
        os.chdir(self.sandbox)
        sys.modules["__main__"] = self.module
        lines = self.text.splitlines(keepends=True)
        linecache.cache[str(self.path)] = (len(self.text), None, lines, str(self.path))
        with asyncio.Runner() as runner:
            for block in blocks(self.text):
                try:
                    self._run(block, runner)
                except Wrong as error:
                    message = f"{self.path}:{block.line}: {error}"
                    raise Wrong(message) from error.__cause__

    def _run(self, block: Block, runner: asyncio.Runner) -> None:
        if "no-run" in block.words:
            if not block.has_reason:
                raise Wrong("no-run without <!-- no-run: why --> beside the block")
        elif block.file:
            self._keep(block)
        elif block.language in self.ways:
            self.ways[block.language](block, runner)
        elif block.language not in SHOWN_ONLY:
            raise Wrong(f"no way to run a block of {block.language or 'no language'!r}")

    def _keep(self, block: Block) -> None:
        path = self.sandbox / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if path.suffix in {".app", ".rel"}:
            self._shell(f"ioncc check {block.file}")

    def _python(self, block: Block, runner: asyncio.Runner) -> None:
        source = "\n" * (block.line - 1) + block.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        out = io.StringIO()
        try:
            code = compile(source, str(self.path), "exec", flags)
            with contextlib.redirect_stdout(out):
                result = eval(code, vars(self.module))
                if asyncio.iscoroutine(result):
                    runner.run(result)
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}") from error
        self.printed = out.getvalue()

    def _bash(self, block: Block, _: asyncio.Runner) -> None:
        self.printed = self._shell(block.text)

    def _console(self, block: Block, _: asyncio.Runner) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            self.printed = self._shell(command, merge=True)
            if expected.strip():
                self._compare(expected)

    def _output(self, block: Block, _: asyncio.Runner) -> None:
        if "output" in block.words:
            self._compare(block.text)

    def _data(self, read: Callable[[str], object]) -> Callable[[Block, asyncio.Runner], None]:
        def load(block: Block, _: asyncio.Runner) -> None:
            try:
                read(block.text)
            except (ValueError, yaml.YAMLError) as error:
                raise Wrong(str(error)) from error

        return load

    def _shell(self, script: str, *, merge: bool = False) -> str:
        """Run a script; return what it printed, standard error included where ``merge``.

        Output goes to files: what a script leaves running, which is killed, would hold a pipe open.
        """
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            with subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out if merge else err,
                start_new_session=True,
            ) as bash:
                code = _exit_code(bash)
            out.seek(0)
            err.seek(0)
            printed = out.read()
            if code is None:
                raise Wrong(f"not over after {COMMAND_SECONDS} seconds: {printed}{err.read()}")
            if code and not merge:
                raise Wrong(f"exit code {code}: {printed}{err.read()}")
            return printed

    def _compare(self, expected: str) -> None:
        pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
        if not re.fullmatch(pattern, self.printed.strip(), re.DOTALL):
            raise Wrong(f"it prints\n{self.printed}\nand not\n{expected}")


def _exit_code(bash: subprocess.Popen[bytes]) -> int | None:
    """Wait for a script; kill what it leaves running. None where it was not over in time."""
    try:
        return bash.wait(COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(bash.pid, signal.SIGKILL)


def main(page: str, sandbox: str) -> int:
    """Run one page and return the exit code."""
    try:
        Page(Path(page), Path(sandbox)).run()
    except Wrong as error:
        print(error, file=sys.stderr)
        if error.__cause__ is not None:
            sys.excepthook(type(error.__cause__), error.__cause__, error.__cause__.__traceback__)
        return 1
    return 0


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main(*sys.argv[1:]))
