"""The scenarios: built in, installed, or a user's own."""

from __future__ import annotations

from aexp.scenarios.lookup import BUILT_IN, check_target, find_scenario, known_scenarios

__all__ = ["BUILT_IN", "check_target", "find_scenario", "known_scenarios"]
