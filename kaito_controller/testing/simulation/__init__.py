"""Deterministic simulation: whole small worlds of the machinery, played in virtual time, with everything drawn by seed.

A seed decides what the actors do, which faults the network and the server have, and in which order the event loop runs
what is ready. So a failure is repeated exactly by its seed, and a night plays years of a cluster's life.
"""
