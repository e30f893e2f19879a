"""What tests on real systems share."""
