"""All that knows DBOS: its runtime, its private registry, its tables, states and log records."""
