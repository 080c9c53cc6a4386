"""How much memory a model needs, how it is split over GPUs and nodes, and whether it fits: pure arithmetic."""
