"""The agent beside the engine: fetches and checks adapters, and keeps the engine to the wanted list."""
