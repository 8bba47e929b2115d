"""Floor 3: typed objects, and repositories of versions of them."""
