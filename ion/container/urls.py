"""What is wrong with the URLs that settings name, of the broker and of the store: it is known
before anything is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ion.base import plugin
from ion.base.config import Configuration
from ion.base.errors import ConfigurationError
from ion.base.findings import Finding
from ion.base.settings import Settings
from ion.process.connection import transport_for
from ion.stores.opening import SCHEMES, checked_scheme, open_datastore

BROKER = "broker.url"
STORE = "store.url"


def findings_in(
    configuration: Configuration, keys: Iterable[str] = (BROKER, STORE)
) -> list[Finding]:
    """Return what would make a start fail: a URL that is none, or is of no scheme there is, or
    needs what is not installed; each at the place that it came from. Nothing is connected.

    :param keys: which to look at.
    """
    findings = []
    for key in keys:
        try:
            _LOOKS[key](configuration.settings)
        except ConfigurationError as error:
            findings.append(configuration.finding(key, error.message))
    return findings


def _look_at_broker(settings: Settings) -> None:
    transport_for(settings, sysname=settings.container.sysname, is_host=True)


def _look_at_store(settings: Settings) -> None:
    url = settings.store.url
    if url is None:
        return
    for need in plugin.needs(SCHEMES[checked_scheme(url)]):
        if need.always:
            raise ConfigurationError(need.message)
    open_datastore(url, sysname=settings.container.sysname)


_LOOKS: Mapping[str, Callable[[Settings], None]] = {
    BROKER: _look_at_broker,
    STORE: _look_at_store,
}
