"""What the operator itself answers: probes and metrics, their addresses, certificates and readers."""
