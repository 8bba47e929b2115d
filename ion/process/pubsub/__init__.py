"""Publish and subscribe: topics, who hears of them, and what is told.

:mod:`.topics` says what a topic and a pattern are; :mod:`.publishing` sends, also to all instances
of a service. Hearing is by a subscription of a process, whose messages wait in its mailbox
(:mod:`.subscription`), or beside all mailboxes (:mod:`.listener`). That a message has the topic
that it says, :mod:`.verifying` makes sure of.
"""
