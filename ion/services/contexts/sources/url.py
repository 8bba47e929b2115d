"""``https://...`` and other URLs: HTTP by the standard library, the rest through fsspec.

Only what a root names may be read, where a server redirects to included.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from ion.services.contexts import codes
from ion.services.contexts.codes import ItemError
from ion.services.contexts.draft import CHUNK, Draft, Pieces
from ion.services.contexts.model import Item
from ion.services.contexts.names import plain
from ion.services.contexts.roots import Roots
from ion.services.contexts.sources.file import range_text, ranged, whole

HTTP = ("http", "https")
_TIMEOUT = 60.0  # seconds of silence
_BASE = 200  # characters
_NOT_FOUND = (404, 410)


def drafts(item: Item, tag: str, protocol: str, roots: Roots) -> list[Draft]:
    """Return what is to be stored of what is at a URL.

    :raises ItemError: it is not there, may not be read, or has no such range.
    """
    url = _url_of(item.src)
    if protocol not in HTTP and not roots.has_protocol(protocol):
        known = "file, hdf5, string, http, https, and what the roots name"
        message = f"no source is read by {protocol[:50]!r}: there are {known}"
        raise ItemError(codes.BAD_PROTOCOL, message)
    roots.checked_url(url)
    place = _Http(url, item.src_token, roots) if protocol in HTTP else _Far(url, item.src_token)
    size, mtime = place.look()
    offset, length = ranged(item, size, shown(url)) if size is not None else _unranged(item, url)
    return [
        Draft(
            tag=tag,
            source=f"{plain(shown(url))}{range_text(item)}",
            origin=plain(shown(url)),
            base=plain(urlsplit(url).path.rpartition("/")[2])[:_BASE] or "index",
            media="binary",
            pieces=lambda: _pieces(place, offset, length),
            size=length,
            mtime=mtime,
            description=lambda found: f"binary<size={found}, offset={offset}>",
        )
    ]


def shown(url: str) -> str:
    """Return a URL without password and query, in which a key may be."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _url_of(src: str) -> str:
    protocol, mark, rest = src.partition("::")
    return f"{protocol}://{rest.lstrip('/')}" if mark and "://" not in src else src


def _unranged(item: Item, url: str) -> tuple[int, int | None]:
    if item.range_off or item.range_size:
        message = f"{shown(url)} does not say how long it is: no range of it can be taken"
        raise ItemError(codes.BAD_RANGE, message)
    return 0, None


def _pieces(place: _Http | _Far, offset: int, length: int | None) -> Pieces:
    with place.opened(offset) as file:
        left = length
        while left is None or left:
            piece = whole(file, CHUNK if left is None else min(CHUNK, left))
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece


class _Http:
    """What is at an http(s) URL."""

    def __init__(self, url: str, token: str, roots: Roots) -> None:
        self._url = url
        self._token = token
        self._opener = urllib.request.build_opener(_Redirects(roots))

    def look(self) -> tuple[int | None, float]:
        """Return its size, None where it does not say, and when it was changed, or 0.

        :raises ItemError: it cannot be reached, or is no content.
        """
        with _mapped(self._url), self._ask("HEAD", 0) as answer:
            length, changed = answer.headers["Content-Length"], answer.headers["Last-Modified"]
        return int(length) if (length or "").isdigit() else None, _time(changed)

    @contextmanager
    def opened(self, offset: int) -> Iterator[IO[bytes]]:
        """Open it for reading from ``offset`` on.

        :raises ItemError: it cannot be reached, read, or entered in the middle.
        """
        with _mapped(self._url), self._ask("GET", offset) as answer:
            if offset and answer.status != 206:  # noqa: PLR2004 (partial content)
                message = f"{shown(self._url)} gives no ranges"
                raise ItemError(codes.NOT_SOUGHT, message)
            yield answer

    def _ask(self, method: str, offset: int) -> Any:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._url, headers=headers, method=method)  # noqa: S310
        return self._opener.open(request, timeout=_TIMEOUT)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def redirect_request(self, *args: Any, **options: Any) -> urllib.request.Request | None:
        """Follow within the roots only, and let the token go nowhere else."""
        request, answer, target = args[0], args[1], args[5]
        try:
            self._roots.checked_url(target)
        except ItemError:
            answer.close()
            raise
        found = super().redirect_request(*args, **options)
        if found is not None and urlsplit(target).netloc != urlsplit(request.full_url).netloc:
            found.remove_header("Authorization")
        return found


class _Far:
    """What is at a URL of another protocol."""

    def __init__(self, url: str, token: str) -> None:
        try:
            import fsspec
        except ImportError:
            message = "this URL needs fsspec: pip install 'ioncore[contexts]'"
            raise ItemError(codes.NOT_INSTALLED, message) from None
        self._url = url
        with _mapped(url):
            self._system, self._path = fsspec.core.url_to_fs(
                url, **({"token": token} if token else {})
            )

    def look(self) -> tuple[int | None, float]:
        """Return its size, None where it does not say, and when it was changed, or 0.

        :raises ItemError: it cannot be reached, or is no content.
        """
        with _mapped(self._url):
            info = self._system.info(self._path)
        size, changed = info.get("size"), info.get("mtime")
        if info.get("type") == "directory":
            raise ItemError(codes.NOT_READ, f"{shown(self._url)} is a folder: give what is in it")
        return size, float(changed) if isinstance(changed, int | float) else 0.0

    @contextmanager
    def opened(self, offset: int) -> Iterator[IO[bytes]]:
        """Open it for reading from ``offset`` on.

        :raises ItemError: it cannot be reached, read, or entered in the middle.
        """
        with _mapped(self._url), self._system.open(self._path, "rb") as file:
            if offset:
                file.seek(offset)
            yield file


@contextmanager
def _mapped(url: str) -> Iterator[None]:
    """Let what is wrong with a URL be an item's error, without what may be secret in it."""
    try:
        yield
    except ItemError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        code = codes.MISSING if error.code in _NOT_FOUND else codes.NOT_OPENED
        raise ItemError(code, f"{shown(url)}: HTTP {error.code}") from None
    except FileNotFoundError:
        raise ItemError(codes.MISSING, f"there is nothing at {shown(url)}") from None
    except (ImportError, ValueError) as error:  # fsspec's way to say that it knows no such thing
        message = (
            f"{shown(url)}: {type(error).__name__}: a library for it is missing, or it is no URL"
        )
        raise ItemError(codes.NOT_INSTALLED, message) from None
    except (OSError, HTTPException, RuntimeError) as error:
        kind = getattr(error, "reason", None) or type(error).__name__
        raise ItemError(codes.NOT_OPENED, f"{shown(url)} cannot be read: {kind}") from None


def _time(text: str | None) -> float:
    try:
        return parsedate_to_datetime(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0
