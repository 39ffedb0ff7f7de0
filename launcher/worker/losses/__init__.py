"""Losses as means over the whole batch, however it is cut over ranks and micro-steps.

A loss returns the mean over what it is given. The whole batch's mean is the sum of the parts' means, each times its weight, over
the sum of weights. The weight of a part is its number of samples, or what the loss's `weight(batch)` says. A loss that also has
`total(output, target)`, mean times weight, is asked for that: it is finite where every target of a part is ignored.

What a built-in loss may say beside that:
unfit(output, target)    what does not fit together, in words, or None; may wait for the device
takes_batch              it gets the whole batch, not the target alone
labels                   `classes` where targets are class indices, `bits` where each output is a yes or no of its own
gives                    what outputs are: `logits` or `probabilities`
auto, balance(targets)   whether it weighs classes by how rare they are, and is told all targets for that
ignore_index, blank      a target that does not count, an output that is no class
"""

from launcher.worker.losses.batch import TARGET_KEYS, target_of
from launcher.worker.losses.objective import Objective, make_objective

__all__ = ["TARGET_KEYS", "Objective", "make_objective", "target_of"]
