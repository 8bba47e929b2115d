"""Commands: who may command a system, by which key, and how that is signed and checked.

A system has a key (``key.py``); which one a party signs with, and which ones it believes, is its
ring (``ring.py``). By it ``signing.py`` signs single commands, ``seal.py`` what containers tell
each other, ``proof.py`` that one has it. ``permission.py`` is all of that for one party. To command
a system there is ``operator.py``; an op that wants to be commanded asks ``commanding.py``.
"""
