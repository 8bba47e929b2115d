"""The contract of :class:`~ion.messaging.transport.Transport`, for authors of transports.

Derive a class of tests, and say how a transport to a fresh, empty broker is made; all that the
factory makes in one test must reach the same broker::

    class TestMyTransport(TransportContract):
        @pytest.fixture
        def new_transport(self):
            return lambda: MyTransport(...)      # not opened
"""

from __future__ import annotations

from ion.testing.contracts.consuming import ConsumingContract
from ion.testing.contracts.limits import LimitsContract
from ion.testing.contracts.publishing import PublishingContract
from ion.testing.contracts.session import SessionContract
from ion.testing.contracts.settling import SettlingContract
from ion.testing.contracts.topology import TopologyContract


class TransportContract(
    SessionContract,
    TopologyContract,
    PublishingContract,
    ConsumingContract,
    SettlingContract,
    LimitsContract,
):
    """All of it; derive from single parts to go step by step."""
