"""An endpoint: one party on the bus, its answers, its open calls and their deadlines.

:mod:`.endpoint` sends messages, and opens a call (:mod:`.calls`) for each that is to be answered;
:mod:`.deadlines` ends those that are not in time, :mod:`.probes` finds out whether anybody is there
to answer. What each message passes on its way is in :mod:`.interception`, who waits on whom in
:mod:`.callstack`, and where messages wait for a broker that takes none, in :mod:`.backpressure`.

For the side that answers: :mod:`.unacked_answers` keeps what the broker did not take,
:mod:`.bounded_set` what was cancelled before it came, or comes again unbegun, and
:mod:`.error_log` logs what ops raise. :mod:`.exchange_points` declares exchange points;
:mod:`.best_effort` is for orders to the broker on the way out. :mod:`.one_way` sends what nobody
answers.
"""
