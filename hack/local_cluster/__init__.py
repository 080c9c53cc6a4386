"""The local cluster: Kubernetes on this machine, from package registries alone, and gone without a trace."""
