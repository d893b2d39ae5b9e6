"""Stand between a worker and PostgreSQL: frames, statements, transactions, writes, connections."""
