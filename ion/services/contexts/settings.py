"""How the service is set: its app's ``config``."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError
from ion.services.contexts.content_files import FileContentStore
from ion.services.contexts.content_store import BlobContentStore, ContentStore
from ion.services.contexts.roots import default_roots
from ion.stores.store import Datastore

_SQLITE = "sqlite://"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of the app's ``config``.

    :ivar name: in front of the names of its stores.
    :ivar roots: folders, and beginnings of URLs, below which sources may be read.
    :ivar files: where contents over 64 KiB are: ``auto`` (beside an SQLite store, else in the
        store), ``store``, or a folder that all instances share.
    :ivar workers: threads that read.
    :ivar max_tag: bytes of a tag.
    :ivar known: blobs whose names are kept in memory.
    :ivar sweep: seconds between two removals of what nobody needs.
    :ivar abandoned: seconds without a sign of life after which a broken assimilation is removed.
    :ivar linger: seconds that the content of a tag that is gone stays for who is reading it.
    :ivar events: whether they are published.
    """

    name: str = "contexts"
    roots: list[str] = msgspec.field(default_factory=default_roots)
    files: str = "auto"
    workers: int = 4
    max_tag: int = 64 * 1024 * 1024 * 1024
    known: int = 200_000
    sweep: float = 60.0
    abandoned: float = 120.0
    linger: float = 30.0
    events: bool = True


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings of an app's ``config``.

    :raises ConfigurationError: a key is unknown, or its value none.
    """
    try:
        settings = msgspec.convert(dict(config), Settings)
    except msgspec.ValidationError as error:
        message = f"contexts: config: {error}"
        raise ConfigurationError(message) from error
    least = {"workers": 1, "max_tag": 1, "known": 0, "sweep": 0.01, "abandoned": 0.1, "linger": 0}
    for name, minimum in least.items():
        if not getattr(settings, name) >= minimum:
            message = f"contexts: config: {name}: at least {minimum}"
            raise ConfigurationError(message)
    return settings


async def open_content_store(
    settings: Settings, datastore: Datastore, workers: Executor, readers: Executor
) -> ContentStore:
    """Return where larger contents are kept.

    :raises StoreError: the store cannot be opened.
    """
    if settings.files == "auto" and datastore.url.startswith(_SQLITE):
        path = Path(datastore.url.removeprefix(_SQLITE).partition("?")[0])
        return FileContentStore(path.with_name(f"{path.name}.{settings.name}"), workers, readers)
    if settings.files in ("auto", "store"):
        return await BlobContentStore.open(datastore, settings.name, workers)
    return FileContentStore(_folder(settings.files), workers, readers)


def _folder(given: str) -> Path:
    return Path(given).expanduser().absolute()
