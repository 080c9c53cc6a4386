"""Desired state as plain objects: Services, StatefulSets, NodeClaims. Pure."""
