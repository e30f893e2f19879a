"""Servers and helpers for demo, development and tests; nothing here runs in production."""
