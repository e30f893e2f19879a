"""Test results in files: one format a module."""
