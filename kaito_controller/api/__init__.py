"""The API types: Workspace and NodeClaim, their conditions, reasons and labels. Pure."""
