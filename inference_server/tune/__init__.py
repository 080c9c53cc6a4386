"""Fine-tunes a model: brings and checks the data, trains an adapter, saves or pushes it."""
