"""The node provisioner: turns NodeClaims into registered, initialized Nodes, and back."""
