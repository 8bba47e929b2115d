"""A private Redis server, with a numbered database for every test."""

from __future__ import annotations

import itertools
import socket
import subprocess

from ion.base.errors import StartError
from ion.testing.servers.private import PrivateServer, find_binary

_DATABASES = 4096
_INFO = 4096  # bytes of what it says of itself; its process id is among the first


class RedisServer(PrivateServer):
    """A Redis server of its own; its data survives a kill (an append-only file)."""

    binary = "redis-server"
    package = "redis-server"

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)

    def url(self, database: int = 0) -> str:
        """Return the URL of a database."""
        return f"redis://{self.host}:{self.port}/{database}"

    def new_database(self) -> int:
        """Return the number of an empty database that nobody else was given.

        :raises StartError: all were given away.
        """
        number = next(self._numbers)
        if number >= _DATABASES:
            message = f"all {_DATABASES} databases of this Redis server were given away"
            raise StartError(message)
        return number

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [find_binary(self.binary, self.package), "--bind", self.host]
        command += ["--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--databases", str(_DATABASES)]
        return self._popen(command)

    def _is_up(self) -> bool:
        """Tell whether it serves; who answers at its port may be another one's server."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as asking:
                asking.settimeout(1.0)
                asking.sendall(b"INFO server\r\n")
                answer = asking.recv(_INFO)
        except OSError:
            return False
        if answer.startswith(b"-NOAUTH"):  # ours would not run, had another one the port
            return self.running
        return f"process_id:{self.pid}\r".encode() in answer
