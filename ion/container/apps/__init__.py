"""Apps and releases: files read and checked, in what order they start, and what runs of them.

:mod:`.lookup` finds a file, :mod:`.app` and :mod:`.release` read it (:mod:`.mod` and
:mod:`.arguments` what it says of a class and its arguments), :mod:`.plan` puts apps in order,
:mod:`.launcher` starts them, each as a :mod:`.running_app`. :mod:`.check` and :mod:`.explain` tell
what would be, and start nothing.
"""
