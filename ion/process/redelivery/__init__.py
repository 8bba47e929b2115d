"""Messages that were not done: again, elsewhere, or kept as dead letters to be looked at.

``retrying.py`` decides, ``moving.py`` brings a message to another queue and loses none;
``repeats.py`` knows those that come again, and ``holding.py`` has a process wait meanwhile. The
dead letters (``deadletters.py``, each a ``letter.py``) are looked at where they lie, by
``search.py``.
"""
