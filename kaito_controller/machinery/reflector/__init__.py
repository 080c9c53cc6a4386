"""Keeping a copy of a collection in step with the API server: lists, watches, and when to start over."""
