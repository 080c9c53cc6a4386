"""How much memory a model needs and how many GPUs and nodes that takes. Pure."""
