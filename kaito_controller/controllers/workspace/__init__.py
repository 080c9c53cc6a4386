"""Workspace → plan → NodeClaims, Service and StatefulSet → status.

`reconcile` in `controller` is the table of contents: `snapshot` gathers from the caches, `plan` decides (pure), `steps`
apply, `status` projects what the user reads. No cloud and no node is touched here: a NodeClaim is all that goes out.
"""
