"""The datastore in one SQLite file: the embedded default.

One thread writes (:mod:`.writer`), and commits what waits together; point reads are made where they
are asked for, larger ones in threads (:mod:`.reader`).
"""
