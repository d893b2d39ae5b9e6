"""Workflows with one real bug each, which ``aexp crash`` must find."""
