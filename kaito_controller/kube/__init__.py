"""Kubernetes vocabulary: names, conditions, quantities, schemas. Pure; no I/O, no clock."""
