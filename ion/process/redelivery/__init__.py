"""Messages that were not done: again, elsewhere, or kept as dead letters to be looked at.

:mod:`.retrying` decides, :mod:`.moving` brings a message to another queue and loses none;
:mod:`.repeats` knows those that come again, and :mod:`.holding` has a process wait meanwhile. The
dead letters (:mod:`.deadletters`, each a :mod:`.letter`) are looked at where they lie, by
:mod:`.search`.
"""
