"""One real cluster for all tests here; each of them leaves it idle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.slurm.counting import Counting
from tests.slurm.project import Project


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes of four cores and two make-believe GPUs."""
    if why := missing():
        pytest.skip(why)
    with Cluster(tmp_path_factory.mktemp("cluster"), nodes=4) as four:
        yield four


@pytest.fixture
def project(cluster: Cluster, tmp_path: Path) -> Iterator[Project]:
    yield Project(cluster, tmp_path / "pro ject %j 'é\"")
    empty(cluster)


@pytest.fixture
def counting(cluster: Cluster, tmp_path: Path) -> Iterator[Counting]:
    yield Counting(cluster, tmp_path)
    empty(cluster)


def empty(cluster: Cluster) -> None:
    for job in cluster.run("squeue", "--noheader", "--format=%i").split():
        cluster.run("scancel", job)
    cluster.wait_idle()
