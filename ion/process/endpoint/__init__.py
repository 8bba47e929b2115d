"""An endpoint: one party on the bus, its answers, its open calls and their deadlines.

``endpoint.py`` sends messages, and opens a call (``calls.py``) for each that is to be answered;
``deadlines.py`` ends those that are not in time, ``probes.py`` finds out whether anybody is there
to answer. What each message passes on its way is in ``customs.py``, who waits on whom in
``callstack.py``, and where messages wait for a broker that takes none, in ``turnstile.py``.

For the side that answers: ``answers.py`` keeps what the broker did not take, ``notes.py`` what was
cancelled before it came, or comes again unbegun, and ``mishaps.py`` logs what ops raise.
``points.py`` declares exchange points; ``farewell.py`` is for orders to the broker on the way out.
"""
