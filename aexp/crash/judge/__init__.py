"""Judge experiments: points, evidence, ownership, verdicts, explanations and results. Pure."""
