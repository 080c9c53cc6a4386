"""Reads model hubs, folders, OCI registries and prices: in bounds, off the reconcile path, running no model's code."""
