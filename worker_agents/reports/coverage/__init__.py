"""Coverage in files: one format a module. Every parser answers in percent, 0-100."""
