"""``heartbeat``: a schedule that ticks while the process is killed and comes back."""
