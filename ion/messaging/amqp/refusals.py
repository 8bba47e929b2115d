"""What the broker's words mean when it refuses to declare, bind, consume or publish, and what to do
next. Pure.
"""

from __future__ import annotations

import re

_DIFFERS = re.compile(
    r"inequivalent arg '(?P<term>[^']*)' for (?P<kind>queue|exchange) '.*' in vhost '.*': "
    r"received (?P<wanted>.*) but current is (?P<present>.*)"
)
_DENIED = re.compile(
    r"(?:(?P<may>configure|write|read) )?access to (?P<kind>queue|exchange|topic) (?P<name>'.*?') "
    r"in .*vhost (?P<vhost>'.*?') refused for user (?P<user>'.*')"
)
# What older brokers do not say: by the first word of what was tried, and what it is refused of.
_MAY = {
    ("declare", "queue"): "configure or read",
    ("declare", "exchange"): "configure or write",  # a queue's dead letters are written to one
    ("delete", "queue"): "configure",
    ("delete", "exchange"): "configure",
    ("bind", "queue"): "write",
    ("bind", "exchange"): "read",
    ("unbind", "queue"): "write",
    ("unbind", "exchange"): "read",
    ("publish", "exchange"): "write",
}


def differs(words: str) -> str:
    """Say what a queue or exchange is declared with otherwise; empty: the words are other ones."""
    found = _DIFFERS.search(words)
    if found is None:
        return ""
    kind = found["kind"]
    return (
        f"this {kind} is there already, with {found['term']} {_value(found['present'])}; "
        f"{_value(found['wanted'])} was wanted: set it as it was declared; or stop what uses the "
        f"{kind}, and delete it with what is in it (ioncc doctor has the command)"
    )


def denied(what: str, words: str) -> str:
    """Say which permission a user lacks; empty: the words are other ones.

    :param what: was being tried.
    """
    found = _DENIED.search(words)
    if found is None:
        return ""
    kind = found["kind"]
    may = found["may"] or _MAY.get((what.partition(" ")[0], kind), "read")
    return (
        f"user {found['user']} may not {may} {kind} {found['name']} in vhost {found['vhost']}: "
        "let them, with rabbitmqctl set_permissions (ioncc doctor has the command)"
    )


def _value(words: str) -> str:
    """Return a value without the type that the broker puts before it."""
    said = re.search(r"'(.*?)'", words)
    return repr(said[1]) if said else words.removeprefix("the value ").strip()
