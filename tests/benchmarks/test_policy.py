"""The benchmark of policy: what its sides are, so that it measures what it says."""

from __future__ import annotations

import pytest

from benchmarks.policy.sides import IDENTITY, PLAIN, POLICY, RULES, Echo, call_of, container
from ion import Forbidden, Unauthorized
from ion.process.identity.acting import acting


async def test_each_side_is_what_it_is_called(tmp_path):
    refused = {PLAIN: None, IDENTITY: Unauthorized, POLICY: Unauthorized}
    for side, error in refused.items():
        async with container("memory://", side, tmp_path) as host:
            await host.spawn(Echo)
            call = call_of(host)
            assert await call() == await call()
            with acting(""):
                if error is None:
                    await call()
                else:
                    with pytest.raises(error):
                        await call()
            if side == POLICY:
                active = host.active_rules
                assert active is not None
                assert len(active.rules.rules) == RULES
                assert active.interceptor.allowed
                with acting(host.endpoint.token), pytest.raises(Forbidden):
                    await host.rpc_send(f"{host.id}.0", "info", {})
