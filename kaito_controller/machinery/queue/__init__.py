"""The queue between watches and workers: whose turn it is, what waits for its time, and for how long."""
