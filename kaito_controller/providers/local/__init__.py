"""Turns the machine it runs on into a cloud: nodes are groups of processes in namespaces of their own."""
