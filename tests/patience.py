"""How long a test waits for what must come, where the time it takes is not what is tested."""

from __future__ import annotations

PATIENCE_S = 240.0
"""A machine with other work needs ten times as long as an idle one, and more."""
