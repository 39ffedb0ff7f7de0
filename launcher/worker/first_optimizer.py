"""For the fork server: what torch imports no sooner than the first optimizer is made.

It is torch.compile's front end, compiled or not (torch/_compile.py): a second of each rank's at each start, restart and trial.
"""

from __future__ import annotations

import torch

torch.optim.SGD([torch.zeros(())])
