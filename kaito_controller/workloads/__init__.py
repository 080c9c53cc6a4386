"""The objects that a Workspace wants to exist, as decoded JSON for server-side apply. Pure."""
