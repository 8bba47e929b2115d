"""``ioncc call`` and ``ioncc send``: from words to a message, and from its answer to what is shown.

Files are read before anything is sent, so that one that is not there has changed nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ion.base.errors import BadRequest, ConfigurationError, Forbidden, IonError, Unauthorized
from ion.conversation.stream import STREAM
from ion.process.connection import Connection
from ion.process.conversations.request import RequestConversation
from ion.shell import exits
from ion.shell.commandline.content import files_in, needs_types, parse_content, split_target
from ion.shell.commandline.options import Options
from ion.shell.commands.items import STANDARD, show_items
from ion.shell.commands.system import ask
from ion.shell.render import show_json, to_json

_WANTED = "Expected `bytes`"
_BYTES = "ioncc takes bytes as KEY@FILE or KEY=base64:..."
MAX_READ = 268_435_456  # bytes; what a message may have, settings say


def prepare(options: Options) -> None:
    """Read the files that the words name, and see whether the answer can be written. Blocks.

    :raises ConfigurationError: a file cannot be read, or is too large for any message; or nothing
        can be written where the answer is to go.
    """
    _check_out(options.out)
    options.given = {name: _read(name) for name in files_in(options.content)}


async def call(connection: Connection, options: Options) -> int:
    """Call, and show the answer, or the items of an op that streams."""
    content = await _content(connection, options)
    try:
        return await _call(connection, options, content)
    except BadRequest as error:
        if _WANTED in error.message:
            error.message = f"{error.message}; {_BYTES}"
        raise


async def _call(connection: Connection, options: Options, content: Any) -> int:
    """Call; an op that streams says that it does, and is asked for its items then."""
    request = (*split_target(options.target), content, options.timeout)
    try:
        if options.progress:
            answer = await _with_progress(connection.request(*request))
        else:
            answer = await connection.rpc_send(*request)
    except BadRequest as error:
        if error.details.get("protocol") != STREAM.name:
            raise
    else:
        _show(answer, options)
        return exits.OK
    return await show_items(connection.stream(*request), options.out)


async def _with_progress(request: RequestConversation) -> Any:
    """Return the answer; tell on standard error how far the op is, a line of JSON a message."""
    try:
        async for step in request:
            print(to_json(step), file=sys.stderr, flush=True)
        return await request
    finally:
        request.cancel()  # where it is not over: the op is told that nobody waits


def _show(answer: Any, options: Options) -> None:
    if options.out is not None:
        _write(options.out, answer)
    elif options.json:
        print(to_json(answer))
    else:
        show_json(answer)
        if isinstance(answer, bytes) and sys.stdout.isatty():
            hint = f"({len(answer)} bytes, as base64: --out FILE writes them as they are)"
            print(hint, file=sys.stderr)


async def send(connection: Connection, options: Options) -> int:
    """Send one way."""
    to, op = split_target(options.target)
    content = await _content(connection, options)
    await connection.send(to, op, content, timeout=options.timeout)
    return exits.OK


async def _content(connection: Connection, options: Options) -> Any:
    """Return the message's content; the op's annotations are asked for where they matter.

    Who may call the op, but not look at containers, has what is JSON taken as JSON.
    """
    if not needs_types(options.content):
        return parse_content(options.content)
    try:
        infos = await ask(connection.endpoint)
    except (Forbidden, Unauthorized):
        infos = []
    types = types_of(infos, *split_target(options.target))
    return parse_content(options.content, types, options.given)


def types_of(infos: Sequence[Mapping[str, Any]], to: str, op: str) -> dict[str, str]:
    """Return the annotations of an op's parameters as text; empty where nobody knows the op.

    :param to: a service (``name`` or ``name.v2``) or a pid.
    """
    found: dict[str, str] = {}
    for info in infos:
        services = info.get("services", [])
        names = {to, *(p.get("service") for p in info.get("processes", []) if p.get("pid") == to)}
        for service in services:
            major = str(service.get("version", "")).partition(".")[0]
            known = {service.get("name"), f"{service.get('name')}.v{major}"}
            if names & known:
                params = service.get("ops", {}).get(op, {}).get("params", [])
                found.update({p["name"]: str(p.get("type", "")) for p in params})
    return found


def _check_out(name: str | None) -> None:
    if name is None or name == STANDARD:
        return
    path = Path(name)
    place = path if path.exists() else path.absolute().parent
    is_place = place == path or place.is_dir()
    if path.is_dir() or not is_place or not os.access(place, os.W_OK):
        reason = "it is a folder" if path.is_dir() else "nothing can be written there"
        message = f"--out {name}: {reason}"
        raise ConfigurationError(message)


def _read(name: str) -> bytes:
    try:
        if name == STANDARD:
            content = sys.stdin.buffer.read(MAX_READ + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MAX_READ + 1)
    except OSError as error:
        message = f"{name!r} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from None
    if len(content) > MAX_READ:
        message = f"{name!r} has more than {MAX_READ} bytes: too large for a message"
        raise ConfigurationError(message)
    return content


def _write(name: str, answer: Any) -> None:
    """Write an answer as it is.

    :raises IonError: it cannot be written to a file.
    :raises OSError: or to standard output, of which all commands tell alike.
    """
    text = answer if isinstance(answer, str) else ""
    data = answer if isinstance(answer, bytes) else text.encode("utf-8", "surrogateescape")
    if not isinstance(answer, bytes | str):
        data = f"{to_json(answer)}\n".encode()
    if name == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(name).write_bytes(data)
    except OSError as error:
        message = f"the answer cannot be written to {name!r}: {error.strerror}"
        raise IonError(message) from error
