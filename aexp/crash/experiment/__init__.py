"""Make experiments: a database, workers, faults, outages, takeovers, and the evidence of each."""
