"""What sbatch was told beside the job file, read back from scontrol (22.05; 24.11 writes `gres/gpu`)."""

from __future__ import annotations

import pytest

from launcher.backends.slurm.by_hand import described
from launcher.backends.slurm.limit import fields_of
from launcher.backends.slurm.script import directives
from launcher.load import parse_job
from launcher.rundir import RunDir

JOB = "name: j\nrun: {script: a.py}\nresources: {slurm: {partition: low, gpus_per_node: 4, extra: [--nice]}}\n"


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("Partition=main QOS=N/A Account=(null) TimeLimit=2-01:00:00", {"--partition=main", "--time=49:00:00"}),
        ("TimeLimit=UNLIMITED Features= Reservation=r1 MailUser=a@b.c", {"--reservation=r1", "--mail-user=a@b.c"}),
        ("ReqNodeList=n[1-2] ExcNodeList=n4 MinMemoryNode=1.50G", {'--nodelist="n[1-2]"', "--exclude=n4", "--mem=1536M"}),
        ("MinMemoryCPU=50M CPUs/Task=3 OverSubscribe=NO", {"--mem-per-cpu=50M", "--cpus-per-task=3", "--exclusive"}),
        ("TresPerNode=gres:gpu:a100:2 Licenses=foo:2", {"--gres=gpu:a100:2", "--licenses=foo:2"}),
        ("TresPerNode=gres/gpu:2 OverSubscribe=OK", {"--gres=gpu:2"}),
        ("TresPerJob=gres:gpu:8", {"--gpus=8", "--gpus-per-node=4"}),
    ],
)
def test_becomes_directives_of_the_successors_script(told: str, options: set[str]) -> None:
    lines = set(directives(described(parse_job(JOB, workdir="/tmp"), fields_of(told)), RunDir("/runs/r")))
    ours = {"--job-name=j", "--nodes=1", "--ntasks-per-node=1", "--chdir=/tmp", "--output=/runs/r/logs/slurm-%j.out", "--nice",
            "--open-mode=append", "--no-requeue", "--no-kill", "--export=ALL", "--signal=B:USR1@300",
            "--mail-type=BEGIN,END,FAIL", *(() if "TresPerNode" in told else ["--gpus-per-node=4"])}  # fmt: skip
    assert lines - ours == options - ours
