"""Simulated machines: a NodeClaim becomes a Node object, and the kwok program plays its kubelet."""
