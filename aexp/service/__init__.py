"""Scenarios over HTTP: what ``aexp serve`` serves. Importing this package imports no web server."""
