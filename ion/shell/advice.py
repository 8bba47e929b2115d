"""What a person at the command line, or at the prompt, can do about an error.

What raises it cannot say so: it does not know of apps, nor of the options of ``ioncc``.
"""

from __future__ import annotations

from ion.base.errors import Forbidden, IonError, ServiceNotFound, Unauthorized

FROM_OUTSIDE = "`ioncc {app}`, on the same broker"
AT_THE_PROMPT = "await container.start_app({app!r})"
_AS_WHOM = (
    "ioncc takes one by --token-file FILE or ION_TOKEN; where the key of the system is at hand, "
    "--set identity.token=system asks as the system"
)


def advise(error: IonError, start: str = FROM_OUTSIDE) -> IonError:
    """Add to what an error says what helps, where that is known; return it.

    :param start: how an app is started, with ``{app}``.
    """
    app = _app_of(error)
    if app:
        error.message = f"{error.message}; app {app!r} brings it: {start.format(app=app)}"
    elif is_about_nobody(error):
        error.message = f"{error.message}; {_AS_WHOM}"
    return error


def _app_of(error: IonError) -> str:
    """Return the app that brings a service that is not there; "" where none is known."""
    to = error.details.get("to")
    if not isinstance(error, ServiceNotFound) or not isinstance(to, str):
        return ""
    if error.details.get("versions"):
        return ""  # it is there, but not of that version
    from ion.container.apps.lookup import find_app  # few need it

    name = to.partition(".")[0]
    return name if find_app(name) is not None else ""


def is_about_nobody(error: IonError) -> bool:
    """Tell whether it was refused because nobody said whose the call is."""
    if isinstance(error, Unauthorized):
        return error.details.get("reason") == "missing"
    return isinstance(error, Forbidden) and error.details.get("actor", "") is None
