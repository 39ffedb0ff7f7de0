"""A user's environment through real sbatch and srun: nothing changed, and nothing secret left anywhere."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.slurm.project import Project

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).map(lambda name: f"own_{name}")
NASTY = st.sampled_from(
    ["a,b", " two  words ", "line\nbreak\n", "'\"`", "$HOME $(id) ${x}", "é\u2028\U0001f600", "\\n\\", "=;|&<>*?[~!#%j", "\t", ""]
)
VALUES = st.lists(
    NASTY | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), max_size=4
).map("".join)


# Without shrinking: each example is a job in the queue.
@settings(max_examples=3, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    inherited=st.dictionaries(NAMES, VALUES, min_size=3, max_size=12),
    said=st.dictionaries(NAMES, VALUES, min_size=3, max_size=12),
)
def test_environment_arrives_byte_for_byte(project: Project, inherited: dict[str, str], said: dict[str, str]) -> None:
    said = {f"said_{name}": "".join(c for c in value if c.isprintable() or c in "\n\t") for name, value in said.items()}
    said = {name: value.replace("${env:", "") for name, value in said.items()}
    run = project.submit(project.job(more=f"env: {json.dumps(said, ensure_ascii=False)}\n"), **inherited)
    project.wait(run, "done")
    arrived = project.wrote(run)["env"]
    assert {name: arrived.get(name) for name in {**inherited, **said}} == {**inherited, **said}


LOOKS = """
import subprocess
from contextlib import suppress
job = os.environ["SLURM_JOB_ID"]
told = subprocess.run(["scontrol", "write", "batch_script", job, "-"], capture_output=True, text=True).stdout
told += subprocess.run(["scontrol", "show", "job", "-dd", job], capture_output=True, text=True).stdout
for path in Path("/proc").glob("[0-9]*/cmdline"):
    with suppress(OSError):  # ended meanwhile
        told += path.read_bytes().decode(errors="replace")
print("leaked" if os.environ["own_secret"] in told else "kept", "in", len(told) > 2000, flush=True)
"""


def test_secret_is_in_nothing_that_others_can_read(project: Project) -> None:
    canary = secrets.token_hex(16)
    project.program("one", then=LOOKS)
    program = project.folder / "own.py"
    program.write_text(program.read_text().replace('"env": dict(os.environ)', '"knows": os.environ["own_secret"][::-1]'))
    run = project.submit(project.job("backend: slurm, nodes: 2", more="env: {own_secret: 'x-${env:TOKEN}'}\n"), TOKEN=canary)
    project.wait(run, "done")
    assert project.wrote(run, 1)["knows"] == f"x-{canary}"[::-1]
    assert "kept in True" in project.launch("logs", str(run)).stdout
    kept = [path for path in run.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert not kept
    spooled = [Path(place) / name for place, _, names in os.walk(project.cluster.folder / "log") for name in names]
    assert not [path for path in spooled if canary.encode() in path.read_bytes()]
