"""Speed, as a ratio against something measured in the same run: ``python -m benchmarks``."""
