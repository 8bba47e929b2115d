"""The commands against a running system: ask its containers, or call its services, over the bus.

Results go to standard output, errors to standard error (as one line, or as JSON for programs).
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ion.shell.endpoint import Endpoint, open_endpoint

from ion.base.errors import IonError
from ion.shell import exits
from ion.shell.content import ContentError, needs_types, parse_content, split_target
from ion.shell.options import Options, usage_error
from ion.shell.render import printable, show_json, to_json
from ion.shell.system import LISTINGS, ask

ANSWERS_WITHIN = 1.0  # seconds; a container answers in milliseconds
_Command = Callable[[Endpoint, Options], Awaitable[int]]


async def run(options: Options) -> int:
    """Run the command that ``options`` name and return its exit code.

    :raises SystemExit: 2, where the words are no target or content.
    """
    if options.target:
        try:
            split_target(options.target)
            parse_content(options.content)
        except ContentError as error:
            raise usage_error(options, error.message) from None
    command = _COMMANDS[options.command]
    try:
        async with open_endpoint(options) as endpoint:
            return await command(endpoint, options)
    except IonError as error:
        _show_error(error, options)
        return exits.code_of(error)


async def _list(endpoint: Endpoint, options: Options) -> int:
    infos = await ask(endpoint, options.timeout or ANSWERS_WITHIN)
    listing = LISTINGS[options.command]
    if options.json:
        show_json(listing.rows(infos))
    elif infos:
        listing.table(infos).show()
    if not infos:
        message = (
            f"no container of system {endpoint.sysname!r} answered within "
            f"{options.timeout or ANSWERS_WITHIN:g} s: is one running there? (-s NAME chooses "
            "the system)"
        )
        raise exits.NobodyAnswered(message)
    return exits.OK


async def _call(endpoint: Endpoint, options: Options) -> int:
    to, op = split_target(options.target)
    content = await _content(endpoint, options, to, op)
    timeout = {} if options.timeout is None else {"timeout": options.timeout}
    answer = await endpoint.rpc_send(to, op, content, **timeout)
    if options.json:
        print(to_json(answer))
    else:
        show_json(answer)
    return exits.OK


async def _send(endpoint: Endpoint, options: Options) -> int:
    to, op = split_target(options.target)
    await endpoint.send(to, op, await _content(endpoint, options, to, op))
    return exits.OK


async def _content(endpoint: Endpoint, options: Options, to: str, op: str) -> Any:
    """Return the message's content; the op's annotations are asked for where they matter."""
    if not needs_types(options.content):
        return parse_content(options.content)
    infos = await ask(endpoint, ANSWERS_WITHIN)
    return parse_content(options.content, annotations(infos, to, op))


def annotations(infos: Sequence[Mapping[str, Any]], to: str, op: str) -> dict[str, str]:
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


def _show_error(error: IonError, options: Options) -> None:
    if options.json:
        print(to_json(error.as_content()), file=sys.stderr)
    else:
        print(f"ioncc {options.command}: {_told(error)}", file=sys.stderr)


def _told(error: IonError) -> str:
    words = printable(exits.one_line(error))
    return words if type(error) is exits.NobodyAnswered else f"{error.type} ({error.code}): {words}"


_COMMANDS: dict[str, _Command] = {
    **dict.fromkeys(LISTINGS, _list),
    "call": _call,
    "send": _send,
}
