"""The command line of ``ioncc`` as data: its words, options and arguments."""
