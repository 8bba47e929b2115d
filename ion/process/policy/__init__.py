"""Policy: who may do what, as data; decided where a message arrives, before anything of it runs.

``model.py`` says what rules are, ``reading.py`` reads them (``contradicting.py`` finds those that
can never apply), ``decisions.py`` decides, from ``facts.py`` and ``owners.py``. ``gate.py`` is the
interceptor that asks, ``journal.py`` has what it decided. The rules that a container has are
``policing.py``; ``keeper.py`` keeps them up to date, by ``distribution.py``.
"""
