"""Events of events.k8s.io/v1: recording them, telling which are one series, and what is sent of them."""
