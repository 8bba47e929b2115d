"""Effects that happen once: the inbox and the outbox in the store, and units of work over both.

A handler works in a :mod:`.unit_of_work`: writes, messages to send (:mod:`.outbox_message`) and
that its own message was handled (:mod:`.inbox`) are one commit. :mod:`.relay` sends what is in the
outbox, by :mod:`.sending`; of several containers the one that :mod:`.claims` says.
:mod:`.conflict_retry` has an op run again that met another one, :mod:`.retention` keeps the inbox
within bounds. What a process
may keep at all is in :mod:`.storing`; a container opens all of it as :mod:`.message_store`.
"""
