"""Floor 5, the caretaker: containers, the spawner, exchanges, apps, releases and the agent.

``container.py`` opens the rooms of a container in order, and closes them in reverse. ``spawner.py``
starts processes and ``terminator.py`` ends them (a singleton hands over: ``handover.py``);
``host.py`` is what they see of the container. ``exchange.py`` and ``subscriptions.py`` have its
queues, ``storeroom.py`` its datastore (of one system and bus alone: ``tenant.py``), ``events.py``
what it tells of its life. ``policy.py``, ``rekeying.py`` and ``revocation_sync.py`` keep up to date
whom it believes. ``urls.py`` finds what is wrong with URLs before anything is opened.
"""
