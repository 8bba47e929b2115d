"""Find calls that block the event loop: they fail where they stand, with the stack that led there.

Contract: only calls made by the watched packages count (a test may read a file as it likes), and
only on a running loop. Built on blockbuster, which the extra ``test`` brings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# What ION does on the loop by design, since a thread would take longer: see ion.stores.sqlite.
_BRIEF = {
    "ion/stores/sqlite/reader.py": {"at_once", "brief"},
    "ion/stores/sqlite/writer.py": {"_do_here"},
}


@contextmanager
def never_blocking(*packages: str) -> Iterator[None]:
    """Let blocking calls of ``packages`` fail for the time of the block.

    Sleeping, sockets, files, subprocesses, locks and SQLite are watched; what the SQLite engine
    does on the loop, for at most about a millisecond, is let pass.

    :param packages: whose calls are watched, by dotted name; ``ion`` where none is given.
    :raises pytest.UsageError: blockbuster is not installed.
    """
    try:
        from blockbuster import blockbuster_ctx
    except ImportError:
        message = "to find blocking calls, install blockbuster: pip install 'ioncore[test]'"
        raise pytest.UsageError(message) from None
    with blockbuster_ctx(scanned_modules=list(packages or ("ion",))) as watch:
        for name, function in watch.functions.items():
            if name.startswith(("sqlite3.", "os.stat")):
                _let_pass(function)
        yield


def _let_pass(function: Any) -> None:
    for file, callers in _BRIEF.items():
        function.can_block_in(file, callers)


@pytest.fixture
def no_blocking() -> Iterator[None]:
    """Let calls of ION that block the event loop fail, all through the test."""
    with never_blocking():
        yield
