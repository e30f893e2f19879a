"""Everything that knows offsets, partitions and transactions."""
