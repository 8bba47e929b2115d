"""The datastore in a PostgreSQL database: a table a store, in a schema of its own.

Calls that wait together travel together (:mod:`.batching`): gets as one query, writes as one
statement a kind. What must be done as a whole is a transaction (:mod:`.committing`).
"""
