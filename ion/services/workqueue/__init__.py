"""A work queue: jobs sent one way, shared by workers, and a collector of their results."""
