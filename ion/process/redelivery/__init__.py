"""Messages that were not done: again, elsewhere, or kept as dead letters to be looked at.

:mod:`.retrying` decides, :mod:`.republishing` brings a message to another queue and loses none;
:mod:`.redelivered` knows those that come again, and :mod:`.pausing` has a process wait meanwhile.
The dead letters (:mod:`.deadletters`, each a :mod:`.dead_letter`) are looked at where they lie, by
:mod:`.search`.
"""
