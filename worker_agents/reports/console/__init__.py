"""What test tools print for people: the last resort where they wrote no report. One tool a module."""
