"""The commands of ``ioncc``, a file each, and what several of them need."""
