"""Effects that happen once: the inbox and the outbox in the store, and units of work over both.

A handler works in a unit (``unit.py``): writes, messages to send (``parcel.py``) and that its own
message was handled (``inbox.py``) are one commit. ``relay.py`` sends what is in the outbox, by
``sending.py``; of several containers the one that ``claims.py`` says. ``contention.py`` has an op
run again that met another one, ``forgetting.py`` keeps the inbox within bounds. What a process may
keep at all is in ``storing.py``; a container opens all of it as ``mailroom.py``.
"""
