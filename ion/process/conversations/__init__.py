"""Conversations as a process has them: handles of who began one, and the side of who takes part.

Who begins has a handle: :mod:`.request`, :mod:`.stream`, :mod:`.dialogue`; plain rpc needs none.
The other side is :mod:`.participant` before the op runs, :mod:`.streaming` for its items, and what
a handler sees of it in :mod:`.dialogue_context`. Those of many messages have their order and their
limit of silence from :mod:`.long_lived`, and what is not sent yet in :mod:`.send_buffer`. Their
state machines are in :mod:`ion.conversation`.
"""
