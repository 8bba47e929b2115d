"""Floor 5, the caretaker: containers, the spawner, exchanges, apps, releases and the agent.

:mod:`.container` opens the rooms of a container in order, and closes them in reverse.
:mod:`.spawner` starts processes and :mod:`.terminator` ends them (a singleton hands over:
:mod:`.handover`); :mod:`.host` is what they see of the container. :mod:`.exchange` and
:mod:`.subscriptions` have its queues, :mod:`.container_store` its datastore (of one system and bus
alone: :mod:`.store_lock`), :mod:`.events` what it tells of its life. :mod:`.policy`,
:mod:`.key_rotation` and :mod:`.revocation_sync` keep up to date whom it believes. :mod:`.urls`
finds what is wrong with URLs before anything is opened.
"""
