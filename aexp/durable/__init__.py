"""What the author of a workflow imports: fan_out, exactly_once, schedules, the ledger, offload."""
