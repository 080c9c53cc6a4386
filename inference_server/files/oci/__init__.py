"""Images and artifacts in OCI registries."""
