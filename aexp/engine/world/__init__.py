"""What is held or otherwise around a process, where it is tried what its workflows depend on."""
