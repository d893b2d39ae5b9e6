"""How fast, and at what cost: workloads in several variants, measured against one another."""
