"""The codes that an item of a bundle ends with: those of IOWarp's engine for the same causes.

====  =============================================================================
code  cause
====  =============================================================================
0     stored
1     the bundle could not be tried: no service, no answer, a list that is none
-1    the destination is not ``iowarp::<tag>``
-2    no source of that protocol; an empty tag, or name of a text
-3    the tag cannot be made; HDF5: an empty path
-4    an empty path; HDF5: the file cannot be opened
-5    the file is missing, or empty; HDF5: it cannot be listed
-6    the range is not within the file; HDF5: a dataset cannot be read
-7    it cannot be opened; a text without data
-8    it cannot be sought
-9    it cannot be read: a directory, a file that shrinks
-10   it cannot be stored: the store is full, or away
-11   ``depends_on`` names what is not there, or a cycle
-12   the path leads out of the roots that may be read
-13   over a limit of the service
-14   a library is not installed that this source needs
====  =============================================================================

From -11 on they are ours.
"""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
BAD_DESTINATION: Final = -1
BAD_PROTOCOL: Final = -2
NO_TAG: Final = -3
NO_PATH: Final = -4
MISSING: Final = -5
BAD_RANGE: Final = -6
NOT_OPENED: Final = -7
NOT_SOUGHT: Final = -8
NOT_READ: Final = -9
NOT_STORED: Final = -10
BAD_ORDER: Final = -11
OUTSIDE: Final = -12
OVER_LIMIT: Final = -13
NOT_INSTALLED: Final = -14


class ItemError(Exception):
    """An item cannot be assimilated.

    :param reason: what was wrong, where, and what to do; it holds no token.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
