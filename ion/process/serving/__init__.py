"""Serving: a message on its way through a process, from its arrival to its answer.

It comes from a queue (:mod:`.source`) as a delivery; :mod:`.arriving` reads its headers and makes
it an ``IncomingCall`` (:mod:`.incoming`), which is settled once, whatever happens. It waits in the
mailbox of its process, or is turned away where that is full (:mod:`.shedding`, by what
:mod:`.retry_after` has measured). Whose it is, :mod:`.admission` finds out. A task of
:mod:`.workers` runs the op. What the op returned goes out by :mod:`.answering`; what it raised, or
that it was cancelled, becomes a failure in :mod:`.outcomes`. Raw handlers answer with
:mod:`.replying`.

Beside that way, :mod:`.auth_context` is what a call says of who it is made for, and :mod:`.lease`
the lease that a process of a failover app sees.
"""
