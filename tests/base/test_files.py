"""What stands where a file should: nothing of it holds up who reads, and none is read for ever."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ion.base import document, files
from ion.base.config import read
from ion.base.errors import ConfigurationError
from ion.base.files import read_file

pytestmark = pytest.mark.timeout(30)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "folder": lambda path: path.mkdir(),
    "socket": _socket,
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_an_error_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    ODD[kind](path)
    with pytest.raises(ConfigurationError, match="cannot be read: "):
        document.read(path)


def test_of_a_file_that_is_larger_than_all_memory_no_more_is_read_than_was_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rules.yml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert len(read_file(path, 100_000)) == 100_000
    with pytest.raises(ConfigurationError, match="larger than 1048576 bytes"):
        document.read(path)


def test_settings_may_come_by_a_pipe_that_somebody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.yml"
    os.mkfifo(path)
    said = "container: {sysname: piped}\n" + "# more\n" * 20_000
    writer = threading.Thread(target=path.write_text, args=(said,))
    writer.start()
    assert read(files=[path]).settings.container.sysname == "piped"
    writer.join()
    monkeypatch.setattr("ion.base.config.PATIENCE", 0.05)
    with pytest.raises(ConfigurationError, match="nobody has written it in time"):
        read(files=[path])
    assert files.PATIENCE >= 1


def test_what_is_secret_is_written_whole_and_read_where_others_cannot(tmp_path: Path) -> None:
    path = tmp_path / "key"
    files.write_whole(path, "first")
    files.write_whole(path, "second")
    assert files.read_closed(path, 99, "the key") == b"first"
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"the key is open to others: chmod 600 /"):
        files.read_closed(path, 99, "the key")
    assert files.read_closed(path, 3, "it", closed_to=files.OTHERS_WRITE) == b"fir"
    files.write_whole(path, "third", mode=0o644, replace=True)
    assert path.read_text() == "third"
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o664)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        files.read_closed(path, 99, "it", closed_to=files.OTHERS_WRITE)
