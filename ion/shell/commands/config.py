"""Settings from the command line over all other layers, and ``ioncc config``, which shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.shell import exits
from ion.shell.commandline.options import Options
from ion.shell.render import Table, show_json, to_json

if TYPE_CHECKING:
    from ion.base.config import Configuration, Explanation

BROKER = "broker.url"
_URLS = frozenset({BROKER, "store.url"})


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


def check_urls(configuration: Configuration, *keys: str) -> None:
    """Hold that URLs can be used, as far as that is known before they are opened.

    :param keys: ``broker.url``, ``store.url``.
    :raises ConfigurationError: one cannot; the message says where it came from.
    """
    from ion.base.findings import raise_errors
    from ion.container.urls import findings_in

    raise_errors(findings_in(configuration, keys))


def config(options: Options) -> int:
    """Show all settings, or one, with their origins; return the exit code.

    :raises ConfigurationError: a layer is wrong; there is no such key; or, once it was shown, a URL
        that was cannot be used.
    """
    configuration = read_settings(options)
    shown = _URLS if options.explain is None else _URLS & {options.explain}
    _show(configuration, options)
    check_urls(configuration, *sorted(shown))
    return exits.OK


def _show(configuration: Configuration, options: Options) -> None:
    if options.explain is not None:
        _show_one(configuration.explain(options.explain), as_json=options.json)
        return
    found = list(configuration.explanations())
    if options.json:
        show_json({one.key: {"value": one.value, "origin": one.origin} for one in found})
        return
    rows = [{"key": one.key, "value": to_json(one.value), "from": one.origin} for one in found]
    Table(("key", "value", "from"), rows).show()
    for name in configuration.unknown_variables:
        print(f"environment {name} means nothing to ION: misspelt?")


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
