"""A stub of a service that cannot be called in a test: it answers as a file says, and records."""
