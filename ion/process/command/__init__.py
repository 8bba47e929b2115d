"""Commands: who may command a system, by which key, and how that is signed and checked.

A system has a key (:mod:`.key`); which one a party signs with, and which ones it believes, is its
:mod:`.keyring`. By it :mod:`.signing` signs single commands, :mod:`.seal` what containers tell each
other, :mod:`.proof` that one has it. :mod:`.permission` is all of that for one party. To command a
system there is :mod:`.operator`; an op that wants to be commanded asks :mod:`.authorization`.
"""
