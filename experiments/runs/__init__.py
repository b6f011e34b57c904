"""One run from an open directory to its result."""
