"""Units of work over any datastore that can commit changes to several stores at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from ion.stores.store import Datastore, Indices, UnitOfWork


def unit_of_work(
    datastore: Datastore, indices: Mapping[str, Indices | None]
) -> AbstractAsyncContextManager[UnitOfWork]:
    """Begin a unit of work on the opened stores of a datastore; see its ``unit_of_work``.

    :param indices: store name -> declared attributes; None: a plain store.
    """
    raise NotImplementedError
