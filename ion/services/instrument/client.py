"""The typed client of an agent: ``InstrumentClient("gps1", container)``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ion.base.errors import ReceivedError
from ion.process.client import ServiceClient
from ion.services.instrument.model import Capability, Session, Status

EXTRA = 5.0  # seconds for a call beyond what it may wait


class InstrumentClient(ServiceClient):
    """Commands an instrument by its agent.

    Commands raise a ``ReceivedError`` whose ``type`` says what is wrong: ``WrongState``,
    ``SessionHeld``, ``NoSession``, ``DeviceError``, ``Wrong``.

    :ivar session: id of the session that goes with each command; None: without one.
    """

    def __init__(self, *args: Any, session: str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.session = session

    async def status(self, *, timeout: float | None = None) -> Status:
        """Return what it is at."""
        answer: Status = await self._call("status", {}, timeout=timeout, returns=Status)
        return answer

    async def capabilities(self, *, timeout: float | None = None) -> list[Capability]:
        """Return what it can do in the state that it is in."""
        answer: list[Capability] = await self._call(
            "capabilities", {}, timeout=timeout, returns=list[Capability]
        )
        return answer

    async def get(
        self, names: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Return parameters of the device, all by default."""
        content = {"names": list(names) if names is not None else None}
        answer: dict[str, Any] = await self._call("get", content, timeout=timeout)
        return answer

    async def set(
        self, values: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Set parameters of the device; return what it has made of them."""
        answer: dict[str, Any] = await self._call(
            "set", {"values": dict(values), **self._right}, timeout=timeout
        )
        return answer

    async def execute(
        self, command: str, args: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Do a command of the device."""
        content = {"command": command, "args": dict(args or {}), **self._right}
        return await self._call("execute", content, timeout=timeout)

    async def command(self, name: str, *, timeout: float | None = None) -> str:
        """Do a command of the agent (``run``, ``start_streaming``, ...); return its new state."""
        answer: str = await self._call("command", {"name": name, **self._right}, timeout=timeout)
        return answer

    async def go(self, state: str, *, timeout: float | None = 30.0) -> str:
        """Bring it to a state, by whatever commands lead there."""
        answer: str = await self._call("go", {"state": state, **self._right}, timeout=timeout)
        return answer

    async def last(self, *, timeout: float | None = None) -> dict[str, float] | None:
        """Return the last sample that came in, or None."""
        answer: dict[str, float] | None = await self._call("last", {}, timeout=timeout)
        return answer

    async def direct(
        self, data: bytes, wait: float = 0.5, *, timeout: float | None = None
    ) -> bytes:
        """Send bytes to the device as they are; return what it has sent since the last time."""
        content = {"data": data, "wait": wait, **self._right}
        answer: bytes = await self._call("direct", content, timeout=timeout, returns=bytes)
        return answer

    async def acquire(self, owner: str = "", lease: float = 300.0, wait: float = 0.0) -> Session:
        """Get the session, which goes with this client's commands from now on.

        :param owner: by default who calls, where that is known.
        """
        content = {"owner": owner, "lease": lease, "wait": wait}
        answer: Session = await self._call(
            "acquire", content, timeout=wait + EXTRA, returns=Session
        )
        self.session = answer.id
        return answer

    async def renew(self, lease: float = 300.0, *, timeout: float | None = None) -> Session:
        """Let the session end ``lease`` seconds from now."""
        answer: Session = await self._call(
            "renew", {"lease": lease, **self._right}, timeout=timeout, returns=Session
        )
        return answer

    async def release(self, *, timeout: float | None = None) -> None:
        """Give the session back."""
        content = {**self._right}
        self.session = None
        await self._call("release", content, timeout=timeout)

    @asynccontextmanager
    async def alone(
        self, owner: str = "", lease: float = 300.0, wait: float = 0.0
    ) -> AsyncIterator[Session]:
        """Have the session for a block."""
        session = await self.acquire(owner, lease, wait)
        try:
            yield session
        finally:
            try:
                await self.release()
            except ReceivedError as error:
                if error.type != "NoSession":  # its time was over
                    raise

    @property
    def _right(self) -> dict[str, str]:
        return {} if self.session is None else {"session": self.session}
