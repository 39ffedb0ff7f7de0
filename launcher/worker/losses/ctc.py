"""Connectionist temporal classification (Graves et al., 2006): sequences of labels that nobody aligned with the inputs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.worker.data import nested
from launcher.worker.losses.batch import INPUT_LENGTHS, TARGET_LENGTHS, lengths_of, target_of


class Ctc(nn.Module):
    """Of logits (or log-probabilities) (N, T, C) and label sequences (N, S): as torch's, the mean over samples of each one's loss
    by its number of labels.

    A batch that is a mapping may hold `input_lengths` and `target_lengths`, (N,): what lies behind them is padding.
    """

    takes_batch = True

    def __init__(self, *, blank: int = 0, zero_infinity: bool = False) -> None:
        super().__init__()
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, output: Tensor, batch: Any) -> Tensor:
        target = target_of(batch)
        half = output.dtype in (torch.float16, torch.bfloat16)
        logarithms = F.log_softmax(output.float() if half else output, 2).transpose(0, 1)
        return F.ctc_loss(
            logarithms, target, lengths_of(batch, INPUT_LENGTHS, output), lengths_of(batch, TARGET_LENGTHS, target),
            blank=self.blank, zero_infinity=self.zero_infinity,
        )  # fmt: skip

    def unfit(self, output: Tensor, batch: Any) -> str | None:
        target = target_of(batch)
        if output.ndim != 3:
            return f"wants logits of every time step, (N, T, classes); the model's output is {nested.described(output)}"
        if target.ndim != 2 or target.is_floating_point() or len(target) != len(output):
            return (
                f"wants sequences of labels, (N, S) in int64, one for each output{{given}}, and the model's output is "
                f"{nested.described(output)}"
            )
        times, labels = lengths_of(batch, INPUT_LENGTHS, output), lengths_of(batch, TARGET_LENGTHS, target)
        return self.unfit_lengths(output, target, times, labels) or self.unfit_labels(output, target, labels, times)

    def unfit_lengths(self, output: Tensor, target: Tensor, times: Tensor, labels: Tensor) -> str | None:
        for name, lengths, longest in ((INPUT_LENGTHS, times, output.shape[1]), (TARGET_LENGTHS, labels, target.shape[1])):
            if tuple(lengths.shape) != (len(output),):
                return f"wants {name} of shape [{len(output)}], one for each sample; found {list(lengths.shape)}"
            if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= longest:
                what = "time steps of the model's output" if name == INPUT_LENGTHS else "labels of the padded target"
                shorten = ". A model that shortens its input needs input_lengths of its output" if name == INPUT_LENGTHS else ""
                return f"finds {name} from {int(lengths.min())} to {int(lengths.max())}, beyond the {longest} {what}{shorten}"
        return None

    def unfit_labels(self, output: Tensor, target: Tensor, labels: Tensor, times: Tensor) -> str | None:
        classes = output.shape[2]
        if not 0 <= self.blank < classes:
            return f"has blank: {self.blank}, outside the {classes} classes of the model's output (0 to {classes - 1})"
        real = torch.arange(target.shape[1], device=target.device) < labels[:, None]
        held = target[real]
        if held.numel() and not 0 <= int(held.min()) <= int(held.max()) < classes:
            return (
                f"finds labels from {int(held.min())} to {int(held.max())}, outside the {classes} classes of the model's output "
                f"(0 to {classes - 1}; the blank is one of them)"
            )
        if bool((held == self.blank).any()):
            return f"finds the blank, {self.blank}, among the labels: number them without it, or write another blank"
        return None if self.zero_infinity else self.unfit_room(target, real, labels, times)

    def unfit_room(self, target: Tensor, real: Tensor, labels: Tensor, times: Tensor) -> str | None:
        """A label takes a time step, and between two equal ones stands a blank; where there is no room the loss is infinite."""
        repeats = ((target[:, 1:] == target[:, :-1]) & real[:, 1:]).sum(1)
        short = (labels + repeats > times).nonzero()
        if not len(short):
            return None
        first = int(short[0])
        return (
            f"has no room for the {int(labels[first])} labels of a sample in its {int(times[first])} time steps: its loss is "
            "infinite. Write zero_infinity: true to leave such samples out, or shorten the input less"
        )
