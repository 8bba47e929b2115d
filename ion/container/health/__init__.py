"""The health of a container: what is looked at, what is made of it, and where it is told."""
