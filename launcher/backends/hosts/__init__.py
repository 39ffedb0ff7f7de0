"""A few machines over ssh: the user's own configuration, nothing installed there but the environment.

inventory.py    which machines the job names
ssh.py          ssh as the carrier of an agent
facts.py        what a machine says of itself: runs there
asking.py       all are asked at once; what is wrong, in sentences
allocation.py   the answers, as a Cluster
check.py        what doctor looks at
"""

from launcher.backends.hosts.allocation import cluster as cluster
from launcher.backends.hosts.check import check as check
from launcher.backends.hosts.ssh import shell as shell
from launcher.backends.local import start_agents as start_agents

__all__ = ["check", "cluster", "shell", "start_agents"]
