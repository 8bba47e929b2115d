"""Apps and releases: files read and checked, in what order they start, and what runs of them."""
