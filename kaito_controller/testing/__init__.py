"""The test kit: clock, builders, API server. Nothing that runs in production imports it."""
