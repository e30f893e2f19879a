"""One attempt at a ticket: time limits, cancellation, the outcome, and whether to try again."""
