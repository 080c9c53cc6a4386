"""A model's files, brought to the pod's disk while its engine starts: once for each source and revision."""
