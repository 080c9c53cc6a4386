"""Serves one model with transformers' own generation, for models that vLLM cannot serve: the same endpoints, slower."""
