"""What a test run says of itself: parsers of test and coverage reports, one format a module. Reports are untrusted."""
