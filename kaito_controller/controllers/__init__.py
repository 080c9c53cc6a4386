"""The reconcilers: one package per kind."""
