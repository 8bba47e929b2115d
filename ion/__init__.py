"""ION: an actor-style capability container on an async message bus.

What can be imported from here is in :mod:`ion.public`, and is loaded when it is first asked for:
the command `ioncc` has begun by then, and can be interrupted.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, which takes long to load
if TYPE_CHECKING:
    from ion.public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Load what users import, and give what they asked for."""
        import ion.public as public  # noqa: PLR0402 - `from ion` would ask here again

        globals().update({each: getattr(public, each) for each in public.__all__})
        if name == "__all__":
            return public.__all__
        if name in globals():  # one of them, or a room that was loaded with them
            return globals()[name]
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)

    def __dir__() -> list[str]:
        """Return the names that users import, too."""
        return sorted({*globals(), *__getattr__("__all__")})
