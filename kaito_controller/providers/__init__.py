"""Clouds behind one protocol: what turns a NodeClaim into a machine."""
