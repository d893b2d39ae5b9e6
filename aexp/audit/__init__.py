"""From evidence to verdicts, and from these to the account of a run."""

from aexp.audit.account import Report, audit_run

__all__ = ["Report", "audit_run"]
