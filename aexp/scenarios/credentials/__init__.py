"""``credentials``: describe users page by page, with credentials that live in the process only."""
