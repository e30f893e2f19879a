"""What happens, said once: typed events to which logs and metrics subscribe."""
