"""Who is there: beats of containers, and notices of processes and containers that died.

:mod:`.heartbeat` sends and takes beats, :mod:`.membership` decides who is lost, purely;
:mod:`.notices` tells those who watch.
"""
