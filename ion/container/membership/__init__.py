"""Who is there: beats of containers, and notices of processes and containers that died."""
