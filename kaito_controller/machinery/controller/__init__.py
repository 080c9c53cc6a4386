"""Controllers: what wakes them, which requests that makes, and the workers that have them reconciled."""
