"""Runs: the registry, leases, execution in one process, supervised processes, forks."""
