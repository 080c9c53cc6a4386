"""Calls on objects as decoded JSON: reads, writes and what is made of them, and which kinds there are."""
