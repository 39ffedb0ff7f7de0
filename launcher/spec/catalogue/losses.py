"""Built-in losses: means over the batch."""

from __future__ import annotations

from launcher.spec.catalogue.entry import Entry, Rate, Share

LOSSES = (
    Entry("loss", "cross_entropy", "launcher.worker.losses:CrossEntropy", "cross-entropy of logits and class indices", {
        "label_smoothing": (Share, 0.0), "weight": (list[Rate] | None, None), "ignore_index": (int, -100)}),
    Entry("loss", "mse", "torch.nn:MSELoss", "mean squared error"),
    Entry("loss", "l1", "torch.nn:L1Loss", "mean absolute error"),
    Entry("loss", "bce_with_logits", "torch.nn:BCEWithLogitsLoss", "binary cross-entropy of logits"),
)  # fmt: skip
