"""One leader of many processes: the Lease, who contends for it and from which thread, and the fence around writes."""
