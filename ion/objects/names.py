"""Names of repositories and branches."""

from __future__ import annotations

import re

from ion.base.errors import InvalidRequest

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
# A workbench keeps the branches of the other side as origin.NAME, however long that is.
_BRANCH = re.compile(r"(?:origin\.){0,8}[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAIN = "main"  # the branch where nothing else is said


def checked_repository(name: str) -> str:
    """Return the name of a repository.

    :raises InvalidRequest: it is none: letters, digits, ``_ . : -``, at most 128.
    """
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
        message = f"{name!r} is no name of a repository: letters, digits, _ . : -, at most 128"
        raise InvalidRequest(message)
    return name


def checked_branch(name: str) -> str:
    """Return the name of a branch.

    :raises InvalidRequest: it is none: letters, digits, ``_ . -``, at most 64.
    """
    if not isinstance(name, str) or not _BRANCH.fullmatch(name):
        message = f"{name!r} is no name of a branch: letters, digits, _ . -, at most 64"
        raise InvalidRequest(message)
    return name
