"""Conversations as a process has them: handles of who began one, and the side of who takes part.

Who begins has a handle: ``request.py``, ``stream.py``, ``dialogue.py``; plain rpc needs none. The
other side is ``participant.py`` before the op runs, ``streaming.py`` for its items, and what a
handler sees of it in ``talking.py``. Those of many messages have their order and their limit of
silence from ``lasting.py``, and what is not sent yet in ``unsent.py``. Their state machines are in
:mod:`ion.conversation`.
"""
