"""Membership, restarts, root cause, stopping: everything that is decided about a run while it runs."""

from launcher.supervisor.loop import Outcome as Outcome
from launcher.supervisor.loop import supervise as supervise
