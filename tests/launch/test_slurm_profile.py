"""A site's defaults below a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.load import dump_job, parse_job
from launcher.load.profile import profiles
from launcher.spec import Job

SITE = """\
resources:
  slurm: {partition: gpu, gpus_per_node: 4, gpu_option: gres}
environment: {setup: [module load cuda], interface: ib0}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher" / "site.yaml").write_text(SITE)
    return tmp_path / "launcher"


def job(slurm: str, more: str = "", **given: list[str]) -> Job:
    return parse_job(f"run: {{program: [x]}}\nresources: {{slurm: {slurm}}}\n{more}", **given)  # type: ignore[arg-type]


def test_job_goes_before_its_profile(own: Path) -> None:
    found = job(
        "{profile: site, partition: big}", "environment: {interface: eth0}\n", overrides=["resources.slurm.gpus_per_node=2"]
    )
    slurm = found.resources.slurm
    assert (slurm.partition, slurm.gpus_per_node, slurm.gpu_option) == ("big", 2, "gres")
    assert (found.environment.interface, found.environment.setup) == ("eth0", ["module load cuda"])


def test_resolved_job_needs_the_profile_no_more(own: Path) -> None:
    text = dump_job(job("{profile: site}"))
    (own / "site.yaml").unlink()
    assert parse_job(text).resources.slurm.gpus_per_node == 4


def test_profile_can_be_named_on_the_command_line(own: Path) -> None:
    assert job("{}", overrides=["resources.slurm.profile=site"]).resources.slurm.partition == "gpu"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("resources:\n  slurm: {partitoin: gpu}\n", "site.yaml:2:11", "Did you mean 'partition'?"),
        ("resources:\n  nodes: 2\n", "site.yaml:2:3", "holds environment: and resources: {slurm: ...} alone"),
        ("seed: 1\n", "site.yaml:1:1", "holds environment: and resources: {slurm: ...} alone"),
        ("resources: {slurm: {gpus_per_node: many}}\n", "site.yaml:1:36", "many"),
        ("resources: {slurm: {profile: site}}\n", "site.yaml:1:30", "a profile names no other profile"),
        ("", "job.yaml:2:30", "is no mapping"),
        ("[1]\n", "job.yaml:2:30", "is no mapping"),
    ],
)
def test_what_is_wrong_in_a_profile_is_shown_where_it_stands(own: Path, text: str, place: str, says: str) -> None:
    (own / "site.yaml").write_text(text)
    with pytest.raises(SpecError) as refused:
        job("{profile: site}")
    assert place in str(refused.value)
    assert says in str(refused.value)


def test_unknown_profile_is_refused_with_those_that_there_are(own: Path) -> None:
    with pytest.raises(SpecError, match=r"no profile 'sit'.*Did you mean 'site'\? There are: example, generic, site"):
        job("{profile: sit}")


def test_shipped_profiles_hold_together(own: Path) -> None:
    for name in dict(profiles()):
        job(f"{{profile: {name}}}")
