"""Slurm: a batch script that becomes the supervisor, agents as one srun step, and a queue that is asked without a database.

script.py       the batch script, as pure text
submit.py       checked first, then handed to sbatch
partitions.py   what there is, against what a job asks for
by_hand.py      what a job was given with sbatch's own options
exclusion.py    the hosts that a job does without
successor.py    the job that goes on when this one ends
limit.py        how long this job may still run
array.py        a sweep's tasks
queue.py        what squeue and scontrol say of jobs
allocation.py   what this job holds, as a Cluster
agents.py       srun as the carrier of agents
check.py        what doctor looks at
"""

from launcher.backends.slurm.agents import shell as shell
from launcher.backends.slurm.agents import start_agents as start_agents
from launcher.backends.slurm.allocation import allocated as allocated
from launcher.backends.slurm.allocation import cluster as cluster
from launcher.backends.slurm.array import tasks_waiting as tasks_waiting
from launcher.backends.slurm.by_hand import as_given as as_given
from launcher.backends.slurm.check import check as check
from launcher.backends.slurm.limit import is_batch_script as is_batch_script
from launcher.backends.slurm.limit import own_array as own_array
from launcher.backends.slurm.limit import own_job as own_job
from launcher.backends.slurm.limit import standing as standing
from launcher.backends.slurm.queue import dead_hosts as dead_hosts
from launcher.backends.slurm.queue import is_here as is_here
from launcher.backends.slurm.queue import take_back as take_back
from launcher.backends.slurm.queue import waiting as waiting
from launcher.backends.slurm.submit import again as again
from launcher.backends.slurm.submit import by_hand as by_hand
from launcher.backends.slurm.submit import examine as examine
from launcher.backends.slurm.submit import script as script
from launcher.backends.slurm.submit import submit as submit
from launcher.backends.slurm.successor import followed as followed
from launcher.backends.slurm.successor import release as release
from launcher.backends.slurm.successor import succeed as succeed
from launcher.backends.slurm.successor import withdraw as withdraw
