"""Plain public types: Run, Scenario, Parameters, Promise, Anomaly, Ending."""
