"""Which files may be read: those below the roots, wherever links lead."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ion.base.errors import ConfigurationError
from ion.services.contexts.codes import NO_PATH, NOT_OPENED, OUTSIDE, ItemError

_LEAVING = ("..", "%2e", "\\", "::")  # ways out of a folder, or into another protocol


class Roots:
    """Folders below which files may be read.

    :param folders: absolute, or below the working folder; ``~`` is the user's home. One with
        ``://`` in it is one of URLs that may be read.
    :raises ConfigurationError: one of them is no text.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        for folder in folders:
            if not isinstance(folder, str) or not folder:
                message = f"contexts: roots: folders, not {folder!r}"
                raise ConfigurationError(message)
        self._urls = tuple(
            folder if folder.endswith("/") else f"{folder}/"
            for folder in folders
            if "://" in folder
        )
        self._roots = [
            os.path.realpath(Path(folder).expanduser()) for folder in folders if "://" not in folder
        ]
        self._starts = [root.rstrip("/") + "/" for root in self._roots]

    def checked(self, where: str) -> Path:
        """Return the path that a text leads to in the end, links resolved.

        :raises ItemError: it is empty, or leads out of the roots.
        """
        if not where:
            raise ItemError(NO_PATH, "the source has no path: file::/path/to/file")
        try:
            path = os.path.realpath(where)
        except (OSError, ValueError) as error:  # a loop of links; a zero byte
            raise ItemError(NOT_OPENED, f"{where[:200]!r} is no path: {error}") from None
        if not path.startswith(tuple(self._starts)) and path not in self._roots:
            shown = ", ".join(self._roots) or "none"
            message = f"{where!r} leads to {path}, which may not be read; roots: {shown}"
            raise ItemError(OUTSIDE, message)
        return Path(path)

    def has_protocol(self, protocol: str) -> bool:
        """Return whether any URL of a protocol may be read."""
        return any(url.partition("://")[0] == protocol for url in self._urls)

    def checked_url(self, url: str) -> str:
        """Return a URL that may be read.

        :raises ItemError: it may not.
        """
        leaves = any(mark in url.lower() for mark in _LEAVING)
        if leaves or not f"{url}/".startswith(self._urls):
            shown = ", ".join(self._urls) or "none"
            message = f"{_shown(url)} may not be read; roots with URLs: {shown}"
            raise ItemError(OUTSIDE, message)
        return url


def _shown(url: str) -> str:
    """Return a URL without what may be secret."""
    return url.partition("?")[0].rpartition("@")[2][:200]


def default_roots() -> list[str]:
    """Return the folders of the default: working, temporary, and the user's home."""
    return [".", tempfile.gettempdir(), "~"]
