"""Breaks central lines of the machinery on purpose: some test must notice each."""
