"""The parts of the transport: what a request is sent with, over which connections, and what is measured of it."""
