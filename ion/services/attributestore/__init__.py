"""The attribute store: values under keys, found by their attributes, shared by a whole system."""
