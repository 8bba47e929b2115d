"""Commands: who may command a system, by which key, and how that is signed and checked."""
