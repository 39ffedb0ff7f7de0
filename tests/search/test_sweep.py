"""Sweeps of a real training, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from tests.patience import PATIENCE_S
from tests.search.conftest import LAUNCH, newest, results

Launch = Callable[..., subprocess.CompletedProcess[str]]

TPE = """
extends: base.yaml
sweep:
  method: tpe
  metric: val/loss
  goal: minimize
  trials: 4
  parallel: 2
  parameters:
    train.optimizer.lr: {min: 1e-3, max: 1, log: true}
    train.model.hidden: [[8], [16, 8]]
    train.schedule: [{target: cosine}, {target: step, step_size: 5 steps}]
"""


def weights(run: Path) -> dict[str, bytes]:
    last = max((run / "checkpoints").iterdir())
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(last / "model.safetensors").items()}


def told(sweep: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (sweep / "events.jsonl").read_text().splitlines()]


def test_a_killed_sweep_goes_on_and_comes_to_the_same(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(TPE)
    said = launch("sweep.yaml", "--runs", "plain").stdout
    plain = newest(folder, "plain")
    rows = results(plain)
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert {row["state"] for row in rows} == {"done"}
    assert "4 ended: 4 done" in said
    logged = [json.loads(line) for line in (plain / "trials/0/metrics.jsonl").read_text().splitlines()]
    assert float(rows[0]["value"]) == logged[-1]["val/loss"]
    process = subprocess.Popen([*LAUNCH, "sweep.yaml", "--runs", "killed"], cwd=folder, stdout=subprocess.DEVNULL)
    while not (folder / "killed").exists() or not list((folder / "killed").glob("*/trials/1/metrics.jsonl")):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    state = "stopped" if process.wait() == -signal.SIGKILL else "done"  # on a busy machine it may be through before
    killed = newest(folder, "killed")
    assert json.loads(launch("status", str(killed), "--json").stdout)["state"] == state
    launch("resume", str(killed))
    assert (killed / "results.csv").read_text() == (plain / "results.csv").read_text()
    for trial in range(4):
        assert weights(killed / f"trials/{trial}") == weights(plain / f"trials/{trial}"), trial

    best = min(rows, key=lambda row: float(row["value"]))["trial"]
    launch(str(plain / "best.yaml"), "--runs", "best")
    assert weights(newest(folder, "best")) == weights(plain / "trials" / best)
    done = launch("resume", str(plain)).stdout
    assert "is done: there is nothing left to train" in done


def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(folder: Path, launch: Launch) -> None:
    (folder / "mine.py").write_text(
        "import torch\ndef net(fail):\n    if fail:\n        raise ValueError('no such net')\n"
        "    return torch.nn.Linear(64, 10)\n"
    )
    (folder / "sweep.yaml").write_text(
        "extends: base.yaml\ntrain: {model: {target: mine:net, fail: false}}\nsweep:\n  method: grid\n  metric: val/accuracy\n"
        "  goal: maximize\n  parameters: {train.model.fail: [false, true], seed: [1]}\n"
    )
    said = launch("sweep.yaml").stdout
    sweep = newest(folder)
    assert [row["state"] for row in results(sweep)] == ["done", "failed"]
    assert "no such net" in said
    failure = json.loads((sweep / "trials/1/failure.json").read_text())
    assert (failure["exception"], failure["where"]) == ("ValueError", f"{folder}/mine.py:4")
    (folder / "none.yaml").write_text("extends: sweep.yaml\nsweep: {max_failures: 0, parameters: {train.model.fail: [true]}}\n")
    refused = launch("none.yaml", code=1)
    assert "1 of 1 trials failed (max_failures: 0)" in refused.stdout + refused.stderr


def test_stop_saves_every_trial_and_resume_goes_on(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(TPE + "  \ntrain: {epochs: 10000}\n")
    process = subprocess.Popen([*LAUNCH, "sweep.yaml"], cwd=folder, stdout=subprocess.DEVNULL)
    while len(list((folder / "runs").glob("*/trials/[01]/metrics.jsonl"))) < 2:
        time.sleep(0.05)
    launch("stop", "last")
    assert process.wait(PATIENCE_S) == 75
    sweep = newest(folder)
    [asked] = [event["reason"] for event in told(sweep) if event["event"] == "stopping"]
    assert asked == "launch stop: 2 running trial(s) end after they have saved"
    assert {event["event"] for event in told(sweep / "trials/0")} >= {"checkpoint", "stopped"}
    assert "resume" in launch("status", "last").stdout
    refused = launch("resume", "last", "--set", "sweep.trials=9", code=2)
    assert "sweep.trials: 4 -> 9" in refused.stderr
    (sweep / "job.yaml").write_text((sweep / "job.yaml").read_text().replace("seed: 3", "seed: 5"))
    assert "seed: 3 -> 5" in launch("resume", "last", code=2).stderr


def test_folds_are_scikit_learns_and_fit_nothing_on_what_is_held_out() -> None:
    import numpy as np
    from sklearn.datasets import load_wine
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    from launcher.worker.data.folds import fold

    inputs, classes = load_wine(return_X_y=True)
    parts = list(StratifiedKFold(3, shuffle=True, random_state=0).split(inputs, classes))
    for number, (learned, held_out) in enumerate(parts):
        scaler = StandardScaler().fit(inputs[learned])
        for split, members in (("train", learned), ("val", held_out)):
            found = fold(of={"target": "wine", "split": "all", "normalize": True}, fold=number, folds=3, split=split)
            assert [int(found[index][1]) for index in range(len(found))] == classes[members].tolist()
            ours = np.stack([found[index][0].numpy() for index in range(len(found))])
            np.testing.assert_allclose(ours, scaler.transform(inputs[members]), rtol=1e-4, atol=1e-5)


def test_more_trials_at_a_time_than_fit_are_refused(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(TPE.replace("parallel: 2", "parallel: 999"))
    for words in ((), ("--dry-run",), ("--detach",)):
        said = launch("sweep.yaml", *words, code=2).stderr
        assert "sweep.yaml:8:13: sweep.parallel: 999 trials at a time do not fit" in said
        assert "or auto\n      parallel: 999\n                ^" in said
    assert not (folder / "runs").exists()


def test_a_dry_run_shows_what_would_be_tried_and_writes_nothing(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(TPE)
    said = launch("sweep.yaml", "--dry-run").stdout
    assert "4, 2 at a time" in said
    assert "4 training(s) of 1 rank(s) and 12 steps" in said
    assert not (folder / "runs").exists()
    shown = json.loads(launch("sweep.yaml", "--dry-run", "--json").stdout)
    assert len(shown["sample"]) == shown["trials"] == 4


def test_plain_torchrun_is_no_way_to_start_one(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(TPE)
    prepared = json.loads(launch("sweep.yaml", "--prepare", "--json").stdout)
    assert [*prepared["commands"]] == ["supervise"]
    worker = [sys.executable, "-m", "launcher.worker", prepared["path"]]
    said = subprocess.run(worker, cwd=folder, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert f"describes a sweep: start it with 'launch resume {prepared['path']}'" in said.stderr


def test_after_a_run_that_did_not_come_to_its_end_no_trial_begins(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(TPE)
    launch("base.yaml", "--prepare")
    done = launch("sweep.yaml", "--after", "small", code=75)
    assert "which it was to follow, is stopped" in done.stdout + done.stderr
    assert not list(folder.glob("runs/*/trials/*"))
