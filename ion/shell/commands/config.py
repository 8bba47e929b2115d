"""Settings from the command line over all other layers, and ``ioncc config``, which shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.shell import exits
from ion.shell.commandline.options import Options
from ion.shell.render import Table, show_json, to_json

if TYPE_CHECKING:
    from ion.base.config import Configuration, Explanation


def read_settings(options: Options) -> Configuration:
    """Return the settings that hold for a command.

    :raises ConfigurationError: anything is wrong in any layer; the message says all of it.
    """
    from ion.base.config import read

    return read(
        files=options.config_files,
        assignments=options.settings,
        options=said(options),
    )


def said(options: Options) -> dict[str, dict[str, Any]]:
    """Return the options that stand for settings: option -> what it sets."""
    layers: dict[str, dict[str, Any]] = {}
    if options.brokers:
        one = len(options.brokers) == 1
        layers["--broker"] = {"broker.url": options.brokers[0] if one else options.brokers}
    if options.sysname is not None:
        layers["--sysname"] = {"container.sysname": options.sysname}
    if options.listen is not None:
        layers["--listen"] = {"broker.listen": options.listen}
    if options.token_file is not None:
        layers["--token-file"] = {"identity.token_file": options.token_file, "identity.token": None}
    if options.log_level is not None:
        layers["--log-level"] = {"logging.level": options.log_level.upper()}
    if options.log_format is not None:
        layers["--log-format"] = {"logging.format": options.log_format}
    return layers


def config(options: Options) -> int:
    """Show all settings, or one, with their origins; return the exit code.

    :raises ConfigurationError: a layer is wrong, or there is no such key.
    """
    configuration = read_settings(options)
    if options.explain is not None:
        _show_one(configuration.explain(options.explain), as_json=options.json)
        return exits.OK
    found = list(configuration.explanations())
    if options.json:
        show_json({one.key: {"value": one.value, "origin": one.origin} for one in found})
        return exits.OK
    rows = [{"key": one.key, "value": to_json(one.value), "from": one.origin} for one in found]
    Table(("key", "value", "from"), rows).show()
    for name in configuration.unknown_variables:
        print(f"environment {name} means nothing to ION: misspelt?")
    return exits.OK


def _show_one(one: Explanation, *, as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "key": one.key,
                "value": one.value,
                "origin": one.origin,
                "overridden": [{"value": v, "origin": o} for v, o in one.overridden],
            }
        )
        return
    print(f"{one.key} = {to_json(one.value)}\n  from {one.origin}")
    for value, origin in one.overridden:
        print(f"  over {to_json(value)} from {origin}")
