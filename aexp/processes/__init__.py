"""Processes that are forked, signalled, watched and waited for."""
