"""The job's types: what a user may write, and nothing else."""

from launcher.spec.job import Job as Job
