"""What the shell offers for contexts: which there are, what is in them, and putting more in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.services.contexts.client import ContextsClient

SHOWN = 20
MORE = "there are more: give a limit"
_TAGS = ("tag", "blobs", "bytes", "sources", "changed")
_BLOBS = ("tag", "blob", "bytes", "media", "source")


class Contexts:
    """List the tags; contexts.blobs(tag_re, blob_re), contexts.bundle(src, tag), .destroy(tag)."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> ContextsClient:
        """A client of the service."""
        from ion.services.contexts.client import ContextsClient  # few need it

        return ContextsClient(self._place.caller)

    async def __call__(self, prefix: str = "", limit: int = SHOWN) -> Table:
        """List the tags that begin with ``prefix``, and how much is in each."""
        client = self.client
        found = await client.list_tags(prefix)
        rows = []
        for tag in found[:limit]:
            stat = await client.stat(tag)
            rows.append(
                {
                    "tag": tag,
                    "blobs": stat.blobs,
                    "bytes": stat.bytes,
                    "sources": stat.sources,
                    "changed": moment(stat.changed, "seconds"),
                }
            )
        return Table(_TAGS, rows, MORE if len(found) > limit else "")

    async def blobs(self, tag_re: str, blob_re: str = ".*", limit: int = SHOWN) -> Table:
        """List the blobs whose tag and name match whole."""
        found = await self.client.query(tag_re, blob_re, limit + 1)
        rows = [
            {
                "tag": blob.tag,
                "blob": blob.name,
                "bytes": blob.size,
                "media": blob.media or None,
                "source": blob.source or None,
            }
            for blob in found[:limit]
        ]
        return Table(_BLOBS, rows, MORE if len(found) > limit else "")

    async def bundle(self, sources: str | Sequence[str], tag: str, format: str = "") -> str:
        """Assimilate sources (``file::/path``, a URL, ...) into a tag."""
        from ion.services.contexts.model import Item

        given = [sources] if isinstance(sources, str) else sources
        items = [Item(src, f"iowarp::{tag}", format) for src in given]
        done = await self.client.bundle(items)
        stored = [item for item in done.items if item.code == 0]
        words = f"{len(stored)} of {len(items)} stored, {sum(i.bytes for i in stored)} bytes"
        return f"{words}; then: {done.reason} (code {done.code})" if done.code else words

    async def destroy(self, *tags: str) -> str:
        """Destroy tags with all that is in them."""
        missing = (await self.client.destroy(tags)).missing
        return f"not there: {', '.join(missing)}" if missing else f"{len(tags)} destroyed"

    def __repr__(self) -> str:
        return "contexts() lists the tags; contexts.blobs(tag_re), contexts.bundle(source, tag)"
