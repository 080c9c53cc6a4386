"""What is read from, on loopback: checkpoints, a hub, a registry, a price API, with faults where a test wants them."""
