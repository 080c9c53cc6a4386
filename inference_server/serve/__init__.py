"""Serves one model with vLLM's own OpenAI server, and the classic POST /chat in the same process."""
