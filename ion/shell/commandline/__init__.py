"""The command line of ``ioncc`` as data: its words, options and arguments.

``options.py`` parses all; each word with arguments of its own has them in a file of its name.
``operate.py`` has those that watch and steer a running system, ``content.py`` what the words after
``call SERVICE.OP`` mean.
"""
