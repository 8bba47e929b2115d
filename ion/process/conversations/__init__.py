"""Conversations as a process has them: handles of who began one, and the side of who takes part."""
