"""Slurm: a batch script that becomes the supervisor, agents as one srun step, and a queue that is asked without a database.

script.py       the batch script, as pure text
submit.py       checked first, then handed to sbatch; successors
queue.py        what squeue and scontrol say of jobs
allocation.py   what this job holds, as a Cluster
agents.py       srun as the carrier of agents
"""

from launcher.backends.slurm.agents import start_agents as start_agents
from launcher.backends.slurm.allocation import cluster as cluster
from launcher.backends.slurm.submit import submit as submit
