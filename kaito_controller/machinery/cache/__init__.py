"""Informers: what is kept of the cluster, who is told of its changes, and how to read it."""
