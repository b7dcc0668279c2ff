"""`onebook verify`: the auditor, which shares no code with the ledger it audits."""

from onebook.ops.verify.audit import verify
from onebook.ops.verify.report import Report, render

__all__ = ["Report", "render", "verify"]
