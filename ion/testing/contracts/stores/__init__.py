"""The contract of :class:`~ion.stores.store.Datastore`, as importable tests; see ``contract``."""
