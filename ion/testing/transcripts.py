"""Replay transcripts: a session at the prompt of a container, kept as a text, is a test.

``ioncc attach NODE --record FILE`` writes them; the format is that of doctest::

    # start: hello

    >>> await svc.hello.hello(text="you")
    'Hello there, you'
    >>> len(await ps())
    3

``...`` stands for any text. What differs from run to run is masked on both sides: ``<id>`` is the
container's id and those made anew, ``<time>`` a time, ``<n>`` a number of seconds or ms. Blanks
count as one. A line ``# start: NAME ...`` says which apps and rels the container is to run.

The pytest plugin collects files ``*.transcript`` where the ini option ``ion_transcripts`` is true;
each is run against a container of its own on a private memory bus. :func:`replay` runs one against
any container.
"""

from __future__ import annotations

import asyncio
import doctest
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from ion.base.errors import ConfigurationError
from ion.base.plugin import resolve
from ion.container.container import Container
from ion.process.calling import Calling

SUFFIX = ".transcript"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF
_SESSION = "ion.shell.prompt.attach:Replay"  # the shell is a stranger on this floor
_START = re.compile(r"^# start:(.*)$", re.MULTILINE)
_REL = ".rel"


class Mismatch(AssertionError):
    """A statement showed something else than the transcript says; the message tells both."""


class _Session(Protocol):
    async def begin(self) -> None: ...
    async def run(self, statement: str) -> str | None: ...


class Transcript:
    """A transcript that was read.

    :param path: of the file.
    :ivar examples: its statements, each with what it is to show and its line (from 0).
    :ivar start: names or paths of the apps and rels that it needs.
    :raises ConfigurationError: it cannot be read, or is no transcript.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            text = self.path.read_text(encoding="utf-8")
            self.examples = doctest.DocTestParser().get_examples(text, str(path))
        except (OSError, ValueError) as error:
            message = f"{path} is no transcript: {error}"
            raise ConfigurationError(message) from error
        self.start = [word for words in _START.findall(text) for word in words.split()]

    async def run(self, caller: Calling, node: str) -> None:
        """Run all statements at the prompt of a container, and compare what each shows.

        :param caller: what calls are made through.
        :param node: the container's id.
        :raises Mismatch: one shows something else.
        """
        session = cast("_Session", resolve(_SESSION)(caller, node))
        await session.begin()
        for example in self.examples:
            flags = _flags(example)
            if flags & doctest.SKIP:
                continue
            shown = await session.run(example.source)
            if shown is None:
                return
            self._compare(example, shown, flags)

    def _compare(self, example: doctest.Example, shown: str, flags: int) -> None:
        checker = doctest.OutputChecker()
        wanted = _wanted(example)
        if checker.check_output(wanted, shown, flags):
            return
        expected = doctest.Example(example.source, wanted)
        said = checker.output_difference(expected, shown, flags)
        message = f"{self.path}:{example.lineno + 1}\n{_indented(example.source)}{said}"
        raise Mismatch(message)


async def replay(path: str | Path, caller: Calling | None = None, node: str | None = None) -> None:
    """Run a transcript against a container, and compare what it shows.

    :param path: of the transcript.
    :param caller: a container, a process, or what ``ion.connect`` gives; None: a container is made
        for it on a private memory bus, and starts what the transcript's ``# start:`` lines name.
    :param node: id of the container to attach to; the caller itself by default.
    :raises Mismatch: a statement shows something else.
    :raises ConfigurationError: it is no transcript.
    """
    transcript = await asyncio.to_thread(Transcript, path)
    if caller is not None:
        await transcript.run(caller, node or caller._sender.partition(".")[0])
        return
    async with Container("memory://") as container:
        await start(container, transcript.start)
        await transcript.run(container, container.id)


async def start(container: Container, names: Iterable[str]) -> None:
    """Start apps and rels in a container, by their names or paths."""
    for name in names:
        if name.endswith(_REL):
            await container.start_rel(name)
        else:
            await container.start_app(name)


class TranscriptFile(pytest.File):
    """A file of one transcript, as pytest collects it."""

    def collect(self) -> Iterable[TranscriptItem]:
        """Give its one test."""
        yield TranscriptItem.from_parent(self, name=self.path.stem)


class TranscriptItem(pytest.Item):
    """A transcript as a test."""

    def runtest(self) -> None:
        """Replay it against a container of its own."""
        asyncio.run(replay(self.path))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return what differs, without the frames that found it."""
        if isinstance(excinfo.value, Mismatch | ConfigurationError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where it is."""
        return self.path, 0, f"transcript {self.name}"


def _flags(example: doctest.Example) -> int:
    flags = FLAGS
    for flag, is_on in example.options.items():
        flags = flags | flag if is_on else flags & ~flag
    return flags


def _wanted(example: doctest.Example) -> str:
    """Return what an example is to show; of a traceback only its last lines count."""
    if example.exc_msg is None:
        return example.want
    return f"Traceback (most recent call last):\n    ...\n{example.exc_msg}"


def _indented(source: str) -> str:
    return "".join(f"    {line}\n" for line in source.splitlines())
