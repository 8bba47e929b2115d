"""Publish and subscribe: topics, who hears of them, and what is told.

``topics.py`` says what a topic and a pattern are; ``publishing.py`` sends, also to all instances of
a service. Hearing is by a subscription of a process, whose messages wait in its mailbox
(``subscription.py``), or beside all mailboxes (``listener.py``). That a message has the topic that
it says, ``verifying.py`` makes sure of.
"""
