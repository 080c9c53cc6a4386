"""Models, instance types and runtimes as data, and their loader, which reads the package's own files."""
