"""The streams of a system: what they are made of, what is kept of them, and its replay."""
