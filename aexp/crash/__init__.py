"""Kill a run at every durable write, and show that its promises hold.

The way of a point: explorer → experiment: a database, the proxy, a forked worker → watch: strike →
another worker, to the end → gather → verdicts → results.
"""
