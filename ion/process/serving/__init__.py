"""Serving: a message on its way through a process, from its arrival to its answer.

It comes from a queue (``source.py``) as a delivery; ``arriving.py`` reads its headers and makes it
an ``IncomingCall`` (``incoming.py``), which is settled once, whatever happens. It waits in the
mailbox of its process, or is turned away where that is full (``shedding.py``, by what
``pressure.py`` has measured). Whose it is, ``admitting.py`` finds out. A task of ``workers.py``
runs the op. What the op returned goes out by ``answering.py``; what it raised, or that it was
cancelled, becomes a failure in ``outcomes.py``. Raw handlers answer with ``replying.py``.

Beside that way, ``bearing.py`` is what a call says of who it is made for, and ``tenure.py`` the
lease that a process of a failover app sees.
"""
