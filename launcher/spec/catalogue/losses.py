"""Built-in losses: means over the batch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from launcher.spec.base import Said
from launcher.spec.catalogue.entry import Entry, Rate, Share

Positive = Annotated[float, Field(gt=0)]
ClassWeights = Annotated[
    Literal["auto"] | list[Rate] | None, Said("auto (inverse to the classes' frequencies) or a list of numbers >= 0", "auto")
]
PosWeights = Annotated[
    Literal["auto"] | list[Rate] | None, Said("auto (negatives by positives) or a list of numbers >= 0", "auto")
]
WEIGHT: tuple[Any, Any] = (ClassWeights, None)
IGNORED: tuple[Any, Any] = (int, -100)
OUTPUTS: tuple[Any, Any] = (list[Rate] | None, None)

CLASSES, ELEMENTWISE = "launcher.worker.losses.classes", "launcher.worker.losses.elementwise"

LOSSES = (
    Entry("loss", "cross_entropy", f"{CLASSES}:CrossEntropy", "cross-entropy of logits and class indices or probabilities", {
        "label_smoothing": (Share, 0.0), "weight": WEIGHT, "ignore_index": IGNORED}),
    Entry("loss", "nll", f"{CLASSES}:NegativeLogLikelihood", "negative log-likelihood of log-probabilities and class indices", {
        "weight": WEIGHT, "ignore_index": IGNORED}),
    Entry("loss", "focal", f"{CLASSES}:Focal", "cross-entropy of logits that leaves easy samples out by (1 - p) ** gamma", {
        "gamma": (Rate, 2.0), "weight": WEIGHT, "ignore_index": IGNORED}),
    Entry("loss", "bce_with_logits", f"{ELEMENTWISE}:BinaryCrossEntropyWithLogits",
          "binary cross-entropy of logits and targets from 0 to 1", {"pos_weight": (PosWeights, None), "weight": OUTPUTS}),
    Entry("loss", "bce", f"{ELEMENTWISE}:BinaryCrossEntropy", "binary cross-entropy of probabilities and targets from 0 to 1", {
        "weight": OUTPUTS}),
    Entry("loss", "mse", f"{ELEMENTWISE}:mse", "mean squared error"),
    Entry("loss", "l1", f"{ELEMENTWISE}:l1", "mean absolute error"),
    Entry("loss", "smooth_l1", f"{ELEMENTWISE}:smooth_l1", "squared error below beta, absolute error above", {
        "beta": (Rate, 1.0)}),
    Entry("loss", "huber", f"{ELEMENTWISE}:huber", "smooth_l1 times delta: squared error below delta, absolute error above", {
        "delta": (Positive, 1.0)}),
    Entry("loss", "kl_div", f"{ELEMENTWISE}:KullbackLeibler",
          "Kullback-Leibler divergence of log-probabilities from the target's distribution; batchmean is its definition", {
              "log_target": (bool, False), "reduction": (Literal["batchmean", "mean"], "batchmean")}),
    Entry("loss", "ctc", "launcher.worker.losses.ctc:Ctc",
          "sequences of labels without alignment: logits (N, T, classes), input_lengths and target_lengths from the batch", {
              "blank": (Annotated[int, Field(ge=0)], 0), "zero_infinity": (bool, False)}),
)  # fmt: skip
