"""What the shell offers by name at its prompt: short functions, a file for each subject."""
