"""Draw tables and bars on the terminal, and print JSON on stdout."""
