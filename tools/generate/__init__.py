"""Files that are written by programs and kept in the repository: `make generate` writes them, tests compare."""
