"""The command line of ``ioncc`` as data: its words, options and arguments.

:mod:`.options` parses all; each word with arguments of its own has them in a file of its name.
:mod:`.operate` has those that watch and steer a running system, :mod:`.content` what the words
after ``call SERVICE.OP`` mean.
"""
