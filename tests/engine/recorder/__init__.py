"""What a process notes of its steps."""
