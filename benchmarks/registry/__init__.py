"""Finding resources by attribute: the registry, beside the same query written by hand in SQL."""
