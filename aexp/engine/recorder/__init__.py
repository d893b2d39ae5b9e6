"""Record what the steps of a process do: each call, each body, each effect outside PostgreSQL."""
