"""Floor 6, the front desk: ``ioncc``, the command line and the interactive shell."""
