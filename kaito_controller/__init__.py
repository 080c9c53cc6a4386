"""An operator that turns one Workspace into a served large language model."""
