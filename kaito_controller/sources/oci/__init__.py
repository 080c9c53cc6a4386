"""Models in OCI registries: artifacts whose layers are files, and images whose layers are archives of files."""
