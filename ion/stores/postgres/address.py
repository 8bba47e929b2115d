"""What a ``postgresql://`` URL says: where to, and what is ours in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from ion.base.errors import ConfigurationError, InvalidRequest
from ion.base.masking import mask_urls
from ion.stores.limits import check_name

SCHEMA = "ion"
POOL = 8
STATEMENTS = 100
_MAX_POOL = 1000
_MAX_STATEMENTS = 10_000
_MAX_PORT, _MOST_DIGITS = 65_535, 5
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:]*):?")  # in front of a port


class Address(msgspec.Struct, frozen=True):
    """Where a database is, and how it is to be used.

    :ivar dsn: for the driver; it may hold a password.
    :ivar shown: for people, without one.
    :ivar database: its name; empty: the driver's default.
    :ivar schema: that the tables are in.
    :ivar is_chosen: the URL names it; else it is whichever is the system's.
    :ivar pool: connections at most.
    :ivar statements: prepared statements of a connection at most; 0: none, and no settings of the
        session either, as a pooler (pgbouncer) between us and the server needs it.
    """

    dsn: str
    shown: str
    database: str
    schema: str
    is_chosen: bool
    pool: int
    statements: int

    @property
    def where(self) -> str:
        """What an error says."""
        return f"PostgreSQL ({self.shown})"

    def within(self, schema: str) -> Address:
        """Return it with another schema."""
        shown = self.shown.partition("?")[0]
        return msgspec.structs.replace(self, schema=schema, shown=_shown(shown, schema))


def address_of(url: str) -> Address:
    """Return what a URL says; what is not ours in its query is the driver's (``sslmode``).

    :raises ConfigurationError: it is none.
    """
    try:
        parts = urlsplit(url)
        options = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        why = "it is no URL"
        raise _wrong(why) from None
    user, at, hosts = parts.netloc.partition("@")  # as the driver parts them
    _check_ports(hosts if at else user, options)
    is_chosen = "schema" in options
    schema = options.pop("schema", SCHEMA)
    try:
        check_name(schema)
    except InvalidRequest as error:
        why = f"schema: {error}"
        raise _wrong(why) from None
    pool = _number(options, "pool", POOL, 1, _MAX_POOL)
    statements = _number(options, "statement_cache_size", STATEMENTS, 0, _MAX_STATEMENTS)
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options), ""))
    shown = _shown(mask_urls(urlunsplit(("postgresql", parts.netloc, parts.path, "", ""))), schema)
    return Address(dsn, shown, parts.path.strip("/"), schema, is_chosen, pool, statements)


def _check_ports(hosts: str, options: Mapping[str, str]) -> None:
    """Check what the driver would when it connects: hosts, and their ports.

    :param hosts: ``host:port``, several with commas between.
    :raises ConfigurationError: one has no name, or a port that is none.
    """
    given = filter(None, (hosts, options.get("host")))
    each = [host for named in given for host in named.split(",")]
    if not all(each):
        why = "a host without a name"
        raise _wrong(why)
    ports = [_HOST.sub("", unquote(host), count=1) for host in each if not host.startswith("/")]
    if "port" in options:
        ports += options["port"].split(",")
    if not all(_is_port(port) for port in ports if port):
        why = "a port is a number from 1 to 65535 (in a password, : is %3A and @ is %40)"
        raise _wrong(why)


def _is_port(text: str) -> bool:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return is_number and 1 <= int(text) <= _MAX_PORT


def _shown(shown: str, schema: str) -> str:
    return shown if schema == SCHEMA else f"{shown}?schema={schema}"


def _number(options: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = options.pop(name, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        why = f"{name} is {least} to {most}, not {text!r}"
        raise _wrong(why)
    return int(text)


def _wrong(why: str) -> ConfigurationError:
    # The URL may hold a password: it is not repeated.
    form = "postgresql://user:password@host:port/database?schema=ion&pool=8"
    return ConfigurationError(f"the store URL: {why}; give {form}")
