"""Families of metrics that cost little while nobody looks."""
