"""Conversations with other systems: one module each, over one HTTP base."""
