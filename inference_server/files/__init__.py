"""Files from elsewhere: registries, web servers and model hubs, read as untrusted and kept whole or not at all."""
