"""Builds what a release would be, and says what is wrong with it: ``make release-check``."""
