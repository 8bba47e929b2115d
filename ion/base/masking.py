"""Keep passwords out of whatever is shown: logs, errors, tables.

Contract: masking is for eyes; a masked value is never used to connect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
# It begins where a URL's scheme ends, and is bounded: a long text without blanks is read once.
_URL_PASSWORD = re.compile(r"(?P<head>://[^\s/:@]{0,300}):[^\s/]{0,1000}@")
_SECRET_KEY = re.compile(
    r"(^|[._-])(password|passwd|secret|token|credentials?|api[_-]?key)$|^agent\.key$",
    re.IGNORECASE,
)


def mask_urls(text: str) -> str:
    """Return ``text`` with the password of every URL in it replaced by ``***``."""
    if "://" not in text:
        return text
    return _URL_PASSWORD.sub(rf"\g<head>:{MASK}@", text)


def is_secret(key: str) -> bool:
    """Tell whether a key of that name holds a secret, going by its name, dotted or not."""
    return _SECRET_KEY.search(key) is not None


def masked(value: Any, key: str = "") -> Any:
    """Return ``value``, as data of maps and lists, with its secrets masked.

    :param key: the name under which it stands, dotted where those above it are known.
    """
    if isinstance(value, Mapping):
        above = f"{key}." if key else ""
        return {name: masked(item, f"{above}{name}") for name, item in value.items()}
    if key and value is not None and is_secret(key):
        return MASK
    if isinstance(value, str):
        return mask_urls(value)
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value
