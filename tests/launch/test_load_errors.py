"""Every error at once: place, what came, what is accepted, what was probably meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from launcher.errors import Problem
from launcher.load.nearest import ELSEWHERE
from launcher.spec.catalogue import names
from launcher.spec.docs import explain

Problems = Callable[..., list[Problem]]


SGD_TAKES = "target, lr, momentum, dampening, weight_decay, nesterov, maximize, foreach, fused, groups, decay"


@pytest.mark.parametrize(("text", "message"), [
    ("resources: {nods: 2}", "unknown key 'nods'. Did you mean 'nodes'?"),
    ("resources: {zzz: 2}", "unknown key 'zzz'. Accepted here: backend, nodes, procs_per_node, device, threads, time, agent, "
     "bind, spares, hosts, slurm, snapshot"),
    ("gpus: 4", "unknown key 'gpus' here. Did you mean resources.procs_per_node?"),
    ("batch_size: 4", "unknown key 'batch_size' here. Did you mean train.data.batch_size?"),
    ("resources: {nodes: two}", "expected an integer from 1 to 100,000 or a mapping of min and max, got 'two'"),
    ("resources: {nodes: 0}", "expected an integer from 1 to 100,000 or a mapping of min and max, got 0"),
    ("resources: {nodes: 2.0}", "expected an integer from 1 to 100,000 or a mapping of min and max, got 2.0: write 2"),
    ("resources: {nodes: [1]}", "expected an integer from 1 to 100,000 or a mapping of min and max, got a list"),
    ("resources: {procs_per_node: x}", "expected auto or an integer from 1 to 1,024, got 'x'"),
    ("resources: {procs_per_node: }", "expected auto or an integer from 1 to 1,024, got nothing"),
    ("resources: {backend: lcoal}", "expected auto, local, slurm or hosts, got 'lcoal'. Did you mean 'local'?"),
    ("resources: {time: 30}", "expected a duration such as 90s, 30m, 2h, 1d12h or 08:00:00, got 30: write 30m for minutes"),
    ("resources: nodes", "expected a mapping, got 'nodes'"),
    ("seed: true", "expected an integer >= 0, got true"),
    ("name: 7", "expected 1 to 64 letters, digits, '.', '_' or '-', got 7: write \"7\" for text"),
    ("name: a b", "expected 1 to 64 letters, digits, '.', '_' or '-', got 'a b'"),
    ("log: {csv: yes}", "expected true or false, got 'yes': write true"),
    ("log: {tensorboard: yes}", "expected true, false or a mapping of histograms and graph, got 'yes': write true"),
    ("log: {every: 10}", "expected a length such as 300 steps, 5 epochs or 10%, got 10: write 10 steps"),
    ("log: {wandb: maybe}", "expected true, false or a mapping of project, entity, group, name, tags, got 'maybe'"),
    ("log: {wandb: {tags: [a, 1]}}", 'expected text, got 1: write "1" for text'),
    ("env: {a b: 1}", "an environment variable's name is letters, digits and _, and begins with no digit"),
    ('env: {A: "${env:}"}', "a reference to the environment is written ${env:NAME}, with the name of a variable"),
    ('name: "${env:X}"', "${env:NAME} is read in the values of env: alone; here it would stay as it stands"),
    ("checkpoint: {keep_best: {monitor: loss}}", "missing key 'mode': min or max"),
])  # fmt: skip
def test_message(problems: Problems, text: str, message: str) -> None:
    assert message in [problem.message for problem in problems(f"{text}\nrun: {{script: a.py}}\n")]


@pytest.mark.parametrize(("old", "new", "path", "message"), [
    ("  epochs: 2\n", "", "train", "give exactly one of epochs and max_steps; found neither"),
    ("epochs: 2", "epochs: 2\n  max_steps: 3", "train", "give exactly one of epochs and max_steps; found both"),
    ("epochs: 2", "epochs: 2\n  fsdp: true", "train.fsdp", "the built-in worker trains with DDP, 'fsdp' is not for it. "
     "A script of your own may use it: start that with run: {script: ...} in place of train:"),
    ("epochs: 2", "num_epochs: 2", "train.num_epochs", "unknown key 'num_epochs'. Did you mean 'epochs'?"),
    ("epochs: 2", "epochs: 2\n  lr: 3", "train.lr", "unknown key 'lr' here. Did you mean train.optimizer.lr?"),
    ("lr: 0.1", "lr: fast", "train.optimizer.lr", "expected a number >= 0, got 'fast'"),
    ("lr: 0.1", "lr: -1", "train.optimizer.lr", "expected a number >= 0, got -1"),
    ("lr: 0.1", "lr: .inf", "train.optimizer.lr", "expected a number >= 0, got .inf"),
    ("lr: 0.1", "learning_rate: 1", "train.optimizer.learning_rate",
     f"unknown key 'learning_rate'. Did you mean 'lr'? Accepted here: {SGD_TAKES}"),
    ("lr: 0.1", "l: 1", "train.optimizer.l", f"unknown key 'l'. Did you mean 'lr'? Accepted here: {SGD_TAKES}"),
    ("lr: 0.1", "epochs: 1", "train.optimizer.epochs",
     f"unknown key 'epochs' here. Did you mean train.epochs? Accepted here: {SGD_TAKES}"),
    ("target: sgd", "target: sdg", "train.optimizer.target",
     f"no optimizer is called 'sdg'. Did you mean 'sgd'? Built in: {', '.join(names('optimizer'))}; or an import path such as "
     "my_pkg.mod:thing"),
    ("epochs: 2", "epochs: 2\n  schedule: {target: step, step_size: 3 epochs}", "train.schedule.step_size",
     "3 epochs is longer than the run, which has epochs: 2"),
    ("epochs: 2", "max_steps: 9\n  schedule: {target: multi_step, milestones: [4 steps, 10 steps]}", "train.schedule.milestones",
     "10 steps is longer than the run, which has max_steps: 9"),
    ("epochs: 2", "epochs: 2\n  schedule: {target: cosine, warmup: 101%}", "train.schedule.warmup",
     "101% is longer than the run, which has 100%"),
    ("epochs: 2", "epochs: 2\n  schedule: {target: plateau, monitor: val/f1}", "train.schedule.monitor",
     "'val/f1' is not known at an evaluation; known are val/loss, val/accuracy, train/loss"),
    ("[accuracy]", "[acuracy]", "train.metrics[0]",
     f"no metric is called 'acuracy'. Did you mean 'accuracy'? Built in: {', '.join(names('metric'))}; or an import path such as "
     "my_pkg.mod:thing"),
    ("[accuracy]", "[accuracy, my.mod:accuracy]", "train.metrics[1]", "two metrics would be logged as 'accuracy'"),
    ("loss: cross_entropy", "loss: [a]", "train.loss", "expected a loss: a name, or {target: NAME, ...arguments}, got a list"),
    ("loss: cross_entropy", "loss: {weight: [1]}", "train.loss",
     "missing key 'target': a name from the catalogue or an import path"),
    ("in_features: 64, ", "", "train.model", "missing key 'in_features': an integer >= 1"),
    ("batch_size: 128", "micro_batch_size: 0", "train.data", "missing key 'batch_size': an integer >= 1"),
    ("batch_size: 128", "micro_batch_size: 0", "train.data.micro_batch_size", "expected auto or an integer >= 1, got 0"),
])  # fmt: skip
def test_message_about_training(problems: Problems, train: str, old: str, new: str, path: str, message: str) -> None:
    assert old in train
    found = [(dotted(problem), problem.message) for problem in problems(train.replace(old, new))]
    assert (path, message) in found


def dotted(problem: Problem) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem.path).lstrip(".")


@pytest.mark.parametrize(("kind", "wrong", "field", "words"), [
    ("model", "model: resnet81", "train.model", "no model is called 'resnet81'. Did you mean 'resnet18'?"),
    ("layer", "model: {target: sequential, layers: [Linaer]}", "train.model.layers",
     "no layer is called 'Linaer'. Did you mean 'Linear'?"),
    ("augment", "data: {augment: [{target: nois}]}", "train.data.augment",
     "no augmentation is called 'nois'. Did you mean 'noise'?"),
    ("data", "data: {val: {target: digit}}", "train.data.val", "no data set is called 'digit'. Did you mean 'digits'?"),
])  # fmt: skip
def test_of_a_long_catalogue_the_beginning_is_told_and_where_the_rest_is(
    problems: Problems, kind: str, wrong: str, field: str, words: str
) -> None:
    shown, others = ", ".join(names(kind)[:16]), len(names(kind)) - 16
    [found] = [problem for problem in problems(f"train:\n  {wrong}\n") if "is called" in problem.message]
    rest = f"and {others} more, which launch explain {field} shows; or an import path such as my_pkg.mod:thing"
    assert found.message == f"{words} Built in: {shown}, {rest}"


def test_all_of_a_target_is_checked_at_once(problems: Problems, train: str) -> None:
    schedule = "  schedule: {target: cosine, warmup: 5, final: x, last: 1}\n"
    found = problems(train + schedule)
    assert [dotted(problem) for problem in found] == ["train.schedule.warmup", "train.schedule.final", "train.schedule.last"]


def test_fields_and_what_holds_between_them_are_checked_at_once(problems: Problems, train: str) -> None:
    found = problems(train.replace("lr: 0.1", "lr: x") + "  max_steps: 1\nrun: {args: 1}\ncheckpoint: {keep_best: val/acc}\n")
    messages = "\n".join(problem.message for problem in found)
    for words in ("got 'x'", "epochs and max_steps", "train (the built-in", "script, module", "a list of text", "not logged"):
        assert words in messages


@pytest.mark.parametrize(("key", "logged"), [
    ("val/accuracy", True), ("val/loss", True), ("train/loss", True), ("grad_norm", True), ("val/f1", False), ("accuracy", False),
])  # fmt: skip
def test_the_best_is_chosen_by_a_metric_that_is_logged(problems: Problems, train: str, key: str, logged: bool) -> None:
    found = problems(train + f"nope: 1\ncheckpoint: {{keep_best: {key}}}\n")
    assert [problem.line for problem in found if "is not logged" in problem.message] == ([] if logged else [13])


def test_without_validation_data_there_is_no_validation_metric(problems: Problems, train: str) -> None:
    without = "\n".join(line for line in train.splitlines() if "val:" not in line)
    [found] = problems(without + "\ncheckpoint: {keep_best: {monitor: val/loss, mode: min}}\n")
    assert found.message == "'val/loss' is not logged while this job trains; it logs train/loss, lr, grad_norm"


@pytest.mark.parametrize(("stopping", "words"), [
    ("{monitor: val/f1, patience: 3}", "'val/f1' is not logged while this job trains"),
    ("{monitor: val/loss, patience: 3, restore_best: true}",
     "restore_best takes the best by 'val/loss', and checkpoint.keep_best keeps it by 'val/accuracy': give one of them"),
    ("{monitor: val/loss}", "missing key 'patience'"),
    ("{monitor: val/loss, patience: 0}", "expected an integer >= 1, got 0"),
])  # fmt: skip
def test_early_stopping_is_checked_with_what_it_waits_for(problems: Problems, train: str, stopping: str, words: str) -> None:
    found = problems(train + f"  early_stopping: {stopping}\ncheckpoint: {{keep_best: val/accuracy}}\n")
    assert words in "\n".join(problem.message for problem in found)
    assert len(found) == 1


def test_early_stopping_counts_evaluations(problems: Problems, train: str) -> None:
    without = "\n".join(line for line in train.splitlines() if "val:" not in line)
    [found] = problems(without + "\n  early_stopping: {monitor: train/loss, patience: 3}\n")
    assert found.message == "it counts evaluations, and there is no train.data.val to evaluate"


def test_the_line_is_shown_with_a_caret(problems: Problems) -> None:
    [found] = problems("run:\n  script: a.py\n  agrs: [x]\n")
    assert str(found) == (
        "job.yaml:3:3: run.agrs: unknown key 'agrs'. Did you mean 'args'?\n"
        "      agrs: [x]\n"
        "      ^"
    )  # fmt: skip


def test_a_long_line_is_cut_around_the_caret(problems: Problems) -> None:
    [found] = problems(f"run: {{script: a.py, args: [{'x, ' * 500}y], zzz: 1, args2: 3}}\n".replace(", args2: 3", ""))
    _, excerpt, caret = str(found).split("\n")
    assert excerpt[caret.index("^") :].startswith("zzz")
    assert len(excerpt) < 120


def test_tabs_do_not_move_the_caret(problems: Problems) -> None:
    [found] = problems("run: {script:\ta.py,\t\tzzz: 1}\n")
    _, excerpt, caret = str(found).split("\n")
    assert excerpt[caret.index("^") :].startswith("zzz")


def test_wide_characters_are_counted_as_one(problems: Problems) -> None:
    [found] = problems("run: {script: äöü😀, zzz: 1}\n")
    assert found.column == 21


def test_problems_come_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems("run: {script: a, b: 1}\nseed: x\nlog: {d: 1}\na: 1\n", overrides=["seed=y", "c=1"])
    assert [(problem.source, problem.line) for problem in found] == [
        ("job.yaml", 1), ("job.yaml", 3), ("job.yaml", 4), ("--set 1", None), ("--set 2", None),
    ]  # fmt: skip


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_other_tools_call_it_leads_to_a_field(place: str) -> None:
    assert explain(place).path == place


@pytest.mark.parametrize(("override", "message"), [
    ('train.epochs="3"', "expected an integer >= 1, got '3': write 3 without quotes"),
    ("train.optimizer.lr='1e-2'", "expected a number >= 0, got '1e-2': write 1e-2 without quotes"),
    ("train.optimizer.lr=fast", "expected a number >= 0, got 'fast'"),
    ("train.evaluate_every=0%", "expected more than 0, got '0%'"),
    ("checkpoint.every=0s", "expected more than 0, got '0s'"),
    ("log.every=0 steps", "expected more than 0, got '0 steps'"),
    ("train.data.augment=[{target: noise, classes: 3}]", "expected a list of integers >= 0, got 3: write [3]"),
    ("train.data.augment=[{target: noise, classes: minority}]", "expected a list of integers >= 0, got 'minority'"),
])  # fmt: skip
def test_numbers_in_quotes_and_rhythms_of_nothing(
    problems: Callable[..., list[Problem]], train: str, override: str, message: str
) -> None:
    [found] = problems(train, overrides=[override])
    assert found.message == message
