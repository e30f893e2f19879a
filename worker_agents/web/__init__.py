"""What the worker tells over HTTP, on one port and in its own event loop."""
