"""The token of a party's own calls: that it is kept fresh, whatever its source says for a while."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ion.base.settings import IdentitySettings
from ion.process.identity.credentials import Credentials
from tests.process.delivery import until


class Permitted:
    """A permission that may be withdrawn."""

    key = None
    is_open = True

    async def look(self) -> None:
        """It is there, or not."""


async def test_a_token_that_cannot_be_made_now_is_made_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    permission: Any = Permitted()
    party: Any = SimpleNamespace(id="one", token="", permission=permission)
    own = Credentials(IdentitySettings(token="system", max_life=0.05), party, "test")
    await own.open()
    assert party.token
    permission.is_open = False  # the key is being replaced
    await until(lambda: "needs the key of the system" in caplog.text)
    party.token = ""
    permission.is_open = True
    await until(lambda: party.token)
    permission.is_open = False
    await until(lambda: len(caplog.records) == 2)
    await own.close()
