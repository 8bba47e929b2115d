"""Who is there: beats of containers, and notices of processes and containers that died.

``pulse.py`` sends and takes beats, ``membership.py`` decides who is lost, purely; ``notices.py``
tells those who watch.
"""
