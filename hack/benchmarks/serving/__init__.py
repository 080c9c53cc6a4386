"""What our server costs over vLLM's own, on the CPU with the taught model."""
