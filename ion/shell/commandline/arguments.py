"""The words after ``-a``: arguments for the apps that are started.

``key=value`` is for every app named on the command line, ``apparg_<app>.<key>=value`` for one app,
wherever it stands. A value that is JSON is taken as JSON, any other as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ion.shell.commandline.content import ContentError, parse_value

PREFIX = "apparg_"


class AppArguments:
    """What ``-a`` words say.

    :ivar general: for the apps named on the command line.
    :ivar by_app: app name -> arguments for it, over the general ones.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.general: dict[str, Any] = {}
        self.by_app: dict[str, dict[str, Any]] = {}
        for word in words:
            self._add(word)

    def of(self, app: str) -> dict[str, Any]:
        """Return the arguments for ``app``, where it is named on the command line."""
        return {**self.general, **self.by_app.get(app, {})}

    def _add(self, word: str) -> None:
        """Take one word.

        :raises ContentError: it is no ``key=value``.
        """
        key, equals, text = word.partition("=")
        into = self.general
        if key.startswith(PREFIX):
            app, _, key = key.removeprefix(PREFIX).partition(".")
            into = self.by_app.setdefault(app, {})
        if not equals or not key:
            message = f"-a {word!r} is no key=value (or {PREFIX}<app>.<key>=value for one app)"
            raise ContentError(message)
        into[key] = parse_value(text, None)
