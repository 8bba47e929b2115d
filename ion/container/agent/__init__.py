"""The agent of a container: what it tells of it, and what it changes in it."""
