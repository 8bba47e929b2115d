"""The file itself: where it is, how it is made, and whether it is still the one that was opened."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from urllib.parse import unquote

from ion.base.errors import ConfigurationError, Unavailable

_SCHEME = "sqlite://"
_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_LOOK = 0.1  # seconds between two looks at the file

# To close a file takes away all locks that this OS process has on it: none is made and closed
# while another datastore of this process may be opening it.
_making = threading.Lock()


class StoreFile:
    """One file.

    :param url: ``sqlite:///path``, with an absolute path.
    :ivar next_look: when :meth:`check` will look again, in seconds of ``time.perf_counter``.
    :ivar is_altered: a store was not as it was when it was opened: others have dropped it.
    :raises ConfigurationError: it names no file.
    """

    def __init__(self, url: str) -> None:
        self.path = _path_of(url)
        self.is_altered = False
        self._identity: tuple[int, int] | None = None
        self.next_look = 0.0

    def make(self) -> None:
        """Make the folder and the file, for this user alone, where they are not there.

        :raises Unavailable: that is not allowed, there is no room, or it is no file.
        """
        try:
            self.path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            with _making:
                trouble = self._make_file()
            self._identity = self._found()
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from error
        if trouble:
            raise self._unusable(trouble)

    def _make_file(self) -> str:
        """Make the file; return what is wrong with it, or nothing."""
        if not self.path.exists():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with contextlib.suppress(FileExistsError):  # another OS process was faster
                os.close(os.open(self.path, flags, _PRIVATE_FILE))
        if not self.path.is_file():
            return "it is no file (a folder, or a device)"
        if not os.access(self.path, os.R_OK | os.W_OK):
            return "this user may not read and write it"
        if not os.access(self.path.parent, os.W_OK):
            return "this user may not write to its folder"
        return ""

    def check(self) -> None:
        """Refuse to go on with a file that is not there any more; looks ten times a second.

        :raises Unavailable: it was removed, or another one is in its place.
        """
        if time.perf_counter() > self.next_look:
            self.look()

    def look(self) -> None:
        """Do as :meth:`check`, now."""
        found = self._found()
        if found == self._identity:
            self.next_look = time.perf_counter() + _LOOK
            return
        what = "replaced by another one" if found else "removed"
        message = (
            f"the store file {self.path} was {what} while it was open: nothing is written to "
            "what is lost. Put the right file there, and start again"
        )
        raise Unavailable(message, details={"file": str(self.path)})

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino

    def _unusable(self, why: str) -> Unavailable:
        message = (
            f"the store file {self.path} cannot be opened: {why}; "
            "mend that, or set store.url to another place"
        )
        return Unavailable(message, details={"file": str(self.path)})


def _path_of(url: str) -> Path:
    text = unquote(url.removeprefix(_SCHEME))
    if ":memory:" in text:
        hint = "for a store in memory give memory://"
    elif "?" in url or "#" in url:
        hint = "it takes no parameters"
    elif not text.startswith("/"):
        hint = "the path must be absolute"
    elif text.endswith("/") or "\0" in text:
        hint = "that is a folder, or no path"
    else:
        # sqlite:///x is /x, and sqlite:////x too: both are seen in the field
        return Path("/" + text.lstrip("/"))
    message = f"{url!r} names no file: {hint}; a file is sqlite:////var/lib/ion/data.db"
    raise ConfigurationError(message)
