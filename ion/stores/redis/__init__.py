"""The datastore in Redis, or a Redis Cluster: fast, shared, as safe as ``redis.conf`` makes it.

All keys of a store are in one slot (:mod:`.layout`), and every call is one script at most
(:mod:`.scripts`), so that it is one step for all clients. Calls that wait together travel together
(:mod:`.lane`); a query reads its index in chunks, and decides here (:mod:`.finding`).
"""
