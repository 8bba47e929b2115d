"""``ioncc`` as a server: start what it should run, heed signals, and end in bounded time."""
