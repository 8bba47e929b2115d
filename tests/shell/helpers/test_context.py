"""The shell's words for contexts."""

from __future__ import annotations

from pathlib import Path

from ion import Container
from ion.shell.helpers.helpers import Helpers


async def test_contexts_from_bundling_to_destroying(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 100)
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("contexts")
        contexts = Helpers(container).contexts
        assert "contexts()" in repr(contexts)
        assert await contexts.bundle(f"file::{path}", "a") == "1 of 1 stored, 100 bytes"
        said = await contexts.bundle([f"file::{path}", "file::none"], "b")
        assert said.startswith("1 of 2 stored, 100 bytes; then: there is no file")
        assert said.endswith("(code -5)")
        table = await contexts()
        assert [(row["tag"], row["blobs"], row["bytes"]) for row in table.rows] == [
            ("a", 2, 100),
            ("b", 2, 100),
        ]
        assert (await contexts(limit=1)).note == "there are more: give a limit"
        (row,) = (await contexts.blobs("a", "chunk_.*")).rows
        assert (row["blob"], row["media"], row["source"]) == ("chunk_0", "binary", f"file::{path}")
        assert await contexts.destroy("a", "b") == "2 destroyed"
        assert await contexts.destroy("a") == "not there: a"
