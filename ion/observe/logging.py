"""Logs: lines of text or JSON on standard error that say who speaks, in which conversation.

Contract: modules only ask for a logger; a program (``ioncc``, a script) calls :func:`set_up`, the
library never does. Passwords in URLs, and values whose name says that they are secret, are masked
whatever path they took into the record; what a foreign message put into a line cannot begin one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from ion.base.errors import ConfigurationError
from ion.base.masking import mask_urls, masked
from ion.base.settings import LoggingSettings
from ion.observe.context import current_call, current_container

FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# ION announces the states of its transport itself; these tell the same again, in their own words.
QUIET: Mapping[str, str] = {"aio_pika": "ERROR", "aiormq": "ERROR"}

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL.update({ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\t"})


def set_up(settings: LoggingSettings | None = None, stream: TextIO | None = None) -> None:
    """Send the logs of this OS process to one stream; called again, it replaces what it set up.

    :param settings: the section ``logging``; its defaults where it is None.
    :param stream: standard error where it is None.
    :raises ConfigurationError: no such level or format; nothing is changed then.
    """
    settings = settings or LoggingSettings()
    if settings.format not in FORMATS:
        message = f"no such log format: {settings.format!r} (known: {', '.join(FORMATS)})"
        raise ConfigurationError(message)
    top = checked_level(settings.level)
    wanted = {name: checked_level(each) for name, each in {**QUIET, **settings.levels}.items()}
    handler = _Handler(stream)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
        for name in old.names:
            logging.getLogger(name).setLevel(logging.NOTSET)
    root.addHandler(handler)
    root.setLevel(top)
    handler.names = list(wanted)
    for name, value in wanted.items():
        logging.getLogger(name).setLevel(value)
    logging.captureWarnings(capture=True)


def hush_library() -> None:
    """Have the AMQP library tell of its errors alone, in a program that sets up no logs."""
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def set_level(level: str, name: str = "") -> None:
    """Change the level of the logger ``name`` and those below it; "" is all of them.

    :raises ConfigurationError: no such level.
    """
    logging.getLogger(name or None).setLevel(checked_level(level))


def checked_level(level: str) -> str:
    """Return ``level`` in capitals.

    :raises ConfigurationError: no such level.
    """
    if isinstance(level, str) and level.upper() in LEVELS:
        return level.upper()
    message = f"no such log level: {level!r} (known: {', '.join(LEVELS)})"
    raise ConfigurationError(message)


def context() -> dict[str, str]:
    """Return who speaks: container, process, op, conversation and trace, as far as known."""
    call = current_call.get()
    if call is None:
        container = current_container.get()
        return {"container": container} if container else {}
    container = call.process.rpartition(".")[0] or current_container.get()
    fields = {
        "container": container,
        "process": call.process,
        "op": call.op,
        "conversation": call.conversation,
        "trace": call.traceparent,
    }
    return {name: value for name, value in fields.items() if value}


class TextFormatter(logging.Formatter):
    """One line for people: time (UTC), level, logger, who speaks, what is said."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback below it where there is one."""
        said = mask_urls(record.getMessage()).translate(_CONTROL)
        who = context()
        speaker = " ".join(
            str(who[name]).translate(_CONTROL)
            for name in ("process", "op", "conversation")
            if name in who
        )
        speaker = f" [{speaker or who['container']}]" if who else ""
        said_already = record.args if isinstance(record.args, Mapping) else ()
        more = {key: value for key, value in _extra(record).items() if key not in said_already}
        extra = "".join(f" {k}={v!r}" for k, v in more.items())
        line = f"{_time(record)} {record.levelname:<8}{record.name}{speaker} {said}{extra}"
        trouble = _traceback(self, record)
        return f"{line}\n{trouble}" if trouble else line


class JsonFormatter(logging.Formatter):
    """One JSON object for programs; what was given as ``extra`` stands beside the fixed keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object on one line."""
        from msgspec import json

        return json.encode(self.fields(record), enc_hook=str).decode()

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the object; what was given as ``extra`` may be anything."""
        fields: dict[str, Any] = {
            **_extra(record),
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": mask_urls(record.getMessage()),
            **context(),
        }
        trouble = _traceback(self, record)
        if trouble:
            fields["traceback"] = trouble
        return fields


class _Handler(logging.StreamHandler[TextIO]):
    """The handler of :func:`set_up`, by whose class it is found again."""

    names: list[str]

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream or sys.stderr)
        self.names = []


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller gave as ``extra``, with its secrets masked."""
    given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    shown: dict[str, Any] = masked(given) if given else {}
    return shown


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return mask_urls("\n".join(parts))
