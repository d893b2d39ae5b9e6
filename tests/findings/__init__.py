"""Bugs that ``aexp crash`` has found in what it stands on, each in its smallest form."""
