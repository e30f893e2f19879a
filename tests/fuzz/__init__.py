"""Fuzzing of everything that reads bytes from outside: see docs/fuzzing.md."""
