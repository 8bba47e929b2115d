"""A service whose ops can fail, in the two ways there are.

An ``ApplicationError`` is the caller's business: it arrives there with its code, type, message
and details, and is not logged. Any other exception is the service's own fault: it arrives as a
500, and is logged here with its traceback. Either way the service goes on.
"""

from __future__ import annotations

from ion.process.service import Service
from ion.services.hello_errors.model import title_of


class HelloErrorsService(Service, name="hello_errors", version="0.1.0"):
    """Greets guests only."""

    async def op_greet(self, name: str) -> str:
        """Return a greeting with the guest's title; 404 Stranger where there is no such guest."""
        return f"Hello there, {title_of(name)} {name}"

    async def op_share(self, cakes: int, guests: int) -> float:
        """Return each guest's share; without guests it fails with 500 ZeroDivisionError."""
        return cakes / guests
