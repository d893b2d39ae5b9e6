"""``nested``: root → child → grandchild → step, and who is whose after a kill."""
