"""Contexts: what is assimilated from files and URLs, found by patterns, and given back.

``AssimilationCtx`` and ``ContextInterface`` are IOWarp's interface; they are loaded when they are
first asked for, so that the parts of the service stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.services.contexts.context import AssimilationCtx
    from ion.services.contexts.interface import ContextInterface

__all__ = ["AssimilationCtx", "ContextInterface"]


def __getattr__(name: str) -> object:
    """Load what users import."""
    if name == "AssimilationCtx":
        from ion.services.contexts import context

        return context.AssimilationCtx
    if name == "ContextInterface":
        from ion.services.contexts import interface

        return interface.ContextInterface
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
