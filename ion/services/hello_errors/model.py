"""The guests of the hello_errors service: its logic, testable without any message."""

from __future__ import annotations

from ion.base.errors import ApplicationError

GUESTS = {"Ada": "Countess", "Grace": "Admiral"}


class Stranger(ApplicationError):
    """Nobody of that name is known; ``details`` holds the guests."""

    default_code = 404


def title_of(name: str) -> str:
    """Return the title of a guest.

    :raises Stranger: there is none of that name.
    """
    if name in GUESTS:
        return GUESTS[name]
    message = f"nobody here is called {name!r}"
    raise Stranger(message, details={"guests": sorted(GUESTS)})
