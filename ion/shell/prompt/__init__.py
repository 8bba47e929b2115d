"""The interactive shell: its front ends, what is typed there, and what comes of it."""
