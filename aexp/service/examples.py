"""An example of each shape of requests and answers, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["EXAMPLES", "STREAM"]

_RUN: Mapping[str, Any] = {
    "run_id": "resume-0a1b2c3d",
    "scenario": "resume",
    "status": "SUCCESS",
    "active": False,
    "created_at": "2025-01-31T12:00:00Z",
    "parameters": {"messages": 20, "concurrency": 2},
}
_WORKFLOW: Mapping[str, Any] = {
    "workflow_id": "resume-0a1b2c3d",
    "name": "resume",
    "status": "SUCCESS",
    "queue": None,
    "created_at": "2025-01-31T12:00:00Z",
    "started_at": "2025-01-31T12:00:00Z",
    "ended_at": "2025-01-31T12:00:04Z",
    "attempts": 2,
    "children": [],
}
_STEP: Mapping[str, Any] = {
    "workflow_id": "resume-0a1b2c3d",
    "step_id": 1,
    "name": "plan",
    "began_at": "2025-01-31T12:00:00Z",
    "ended_at": "2025-01-31T12:00:00Z",
    "child_workflow_id": None,
    "copied": False,
    "output": "20",
    "error": None,
}

# By the name of the shape.
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "RunRequest": {"parameters": {"messages": 20}, "kills": 1, "seed": 7},
    "ForkRequest": {"start_step": 3, "run_id": "resume-from-3"},
    "RunSummary": _RUN,
    "RunPage": {"runs": [_RUN], "next": None},
    "RunDetail": {
        **_RUN,
        "forked_from": None,
        "ended": True,
        "forkable": True,
        "progress": {"done": 20, "total": 20},
        "kills": {"asked": 1, "landed": 1, "seed": 7},
        "waiting_for": [],
        "ok": True,
        "report": None,
    },
    "WorkflowTree": {"workflows": [_WORKFLOW], "total": 1, "shown": 1},
    "StepPage": {"steps": [_STEP], "next": None},
}

STREAM = """\
: events of resume-0a1b2c3d
retry: 1000

event: run.progressed
data: {"seq":2,"event":"run.progressed","data":{"done":7,"total":20},\
"happened_at":"2025-01-31T12:00:01Z"}
id: 2

"""
