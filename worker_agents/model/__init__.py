"""Plain types without I/O: tickets, results, states, outcomes and errors."""
