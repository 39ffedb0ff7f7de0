"""What the import path of a user's own thing must lead to, for each kind of target (CONTRACTS: Worker)."""

from __future__ import annotations

from launcher.spec.catalogue import Kind

OWN: dict[Kind, str] = {
    "model": "called with the arguments, gives an nn.Module",
    "layer": "called with the arguments, gives an nn.Module: tensor -> tensor",
    "init": "f(tensor, **arguments), which fills the tensor in place, without gradients",
    "loss": "a class, constructed with the arguments, or a function, which also takes them: (output, target) -> mean over the "
    "batch; where items are mappings, target is the whole mapping",
    "optimizer": "called with the parameters and the arguments, gives a torch optimizer",
    "schedule": "f(step, total_steps, **arguments) -> factor of the optimizer's rate",
    "data": "called with the arguments, gives a torch data set, or anything with a length and items; an item is (input, target), "
    "or a mapping whose keys the model's forward names",
    "metric": "a torchmetrics class, or a function, which also takes the arguments: (outputs, targets) of the whole set -> "
    "number",
    "collate": "a class, constructed with the arguments, or a function, which also takes them: list of items -> batch",
    "sampling": "a class, constructed with the arguments, or a function, which also takes them: (data set, seed, epoch) -> the "
    "numbers of the samples that the epoch draws, as many in every epoch",
    "smote": "called with random_state and the arguments, gives an object with fit_resample(inputs, classes), as "
    "imbalanced-learn's",
    "augment": "a class, constructed with the arguments, or a function, which also takes them: input -> input; what it draws "
    "from torch, numpy or random is a function of (seed, epoch, sample)",
}
