"""The datastore in memory: a product, and the reference of the contract."""
