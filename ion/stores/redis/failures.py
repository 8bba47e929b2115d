"""The errors of Redis and redis-py, as ours: what is wrong, where, and what to do next."""

from __future__ import annotations

from redis import exceptions as errors

from ion.base.errors import Damaged, IonError, Unavailable

_NO_SPACE = "has no memory left (maxmemory): remove something, or give it more"
_SAYS: tuple[tuple[str, str], ...] = (  # what an answer begins with, and what it means
    ("OOM", _NO_SPACE),
    ("READONLY", "is a read-only replica: give the URL of its master"),
    ("LOADING", "still loads its data: try again"),
    ("MISCONF", "cannot save to its disk and takes no writes: free some space there"),
    ("NOAUTH", "wants a password: put it into the URL, redis://:password@host"),
    ("WRONGPASS", "refuses this user or password"),
    ("NOPERM", "does not allow this user what a store needs: give it all commands on its keys"),
    ("MASTERDOWN", "is a replica that has lost its master"),
    ("CLUSTERDOWN", "is of a cluster that is down"),
    ("TRYAGAIN", "moves these keys to another node: try again"),
    ("BUSY", "is busy with a script of somebody else"),
    ("NOREPLICAS", "has too few replicas to write (min-replicas-to-write)"),
)
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (errors.OutOfMemoryError, "OOM"),
    (errors.ReadOnlyError, "READONLY"),
    (errors.BusyLoadingError, "LOADING"),
    (errors.NoPermissionError, "NOPERM"),
    (errors.MasterDownError, "MASTERDOWN"),
    (errors.ClusterDownError, "CLUSTERDOWN"),
    (errors.TryAgainError, "TRYAGAIN"),
)


def mapped(error: Exception, where: str) -> IonError:
    """Return our error for one that a call to ``where`` (host and port) has met.

    No message holds a password: neither Redis nor redis-py repeats one.
    """
    if isinstance(error, IonError):
        return error
    server = f"Redis at {where}"
    details = {"server": where}
    if _is_wrong_type(error):
        message = (
            f"{server} has something else under a key of this store: was it written by another "
            "program? Look at the keys that begin with the store's name in braces"
        )
        return Damaged(message, details=details)
    word = _word(error)
    for begins, means in _SAYS:
        if word == begins:
            return Unavailable(f"{server} {means}", details=details)
    if isinstance(error, errors.AuthenticationError):
        return Unavailable(f"{server} refuses this user or password", details=details)
    if isinstance(error, TimeoutError | errors.TimeoutError):
        message = (
            f"no answer of {server} in time: it is not known whether a write was done; "
            "is it overloaded, or held up?"
        )
        return Unavailable(message, details=details)
    if isinstance(error, OSError | errors.ConnectionError | errors.RedisClusterException):
        why = str(error) or type(error).__name__
        message = f"{server} is away ({why}): is it running, and reached from here?"
        return Unavailable(message, details=details)
    return Unavailable(f"{server} does not do it: {error}", details=details)


def is_busy(error: Exception) -> bool:
    """Tell whether the server answers nothing for now."""
    return _word(error) == "BUSY"


def _is_wrong_type(error: Exception) -> bool:
    # as it comes from a command, or from a script that met it
    return isinstance(error, errors.ResponseError) and "WRONGTYPE" in str(error)


def _word(error: Exception) -> str:
    for known, word in _CLASSES:
        if isinstance(error, known):
            return word
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return code
    return str(error).partition(" ")[0].lstrip("-")
