"""Apps and releases: files read and checked, in what order they start, and what runs of them.

``lookup.py`` finds a file, ``app.py`` and ``release.py`` read it (``mod.py`` and ``arguments.py``
what it says of a class and its arguments), ``plan.py`` puts apps in order, ``launcher.py`` starts
them, each as a ``running.py``. ``check.py`` and ``explain.py`` tell what would be, and start
nothing.
"""
