"""Built-in metrics: which task it is, and how many classes, follows from the loss, the outputs and the targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from launcher.spec.catalogue.entry import Count, Entry

MADE = "launcher.worker.metrics.built_in"
TORCHMETRICS = ("torchmetrics",)
MATRICES = ("confusion_matrix",)
"""Those that are no number: they have a file of their own, and no key in a row."""

OF_COUNTS = {
    "precision": "share of a class's predictions that are right",
    "recall": "share of a class's samples that are found",
    "f1": "harmonic mean of precision and recall",
    "specificity": "share of the other classes' samples that are not taken for a class",
}
CURVES = {"auroc": "area under the ROC curve", "average_precision": "area under the precision-recall curve, as a sum"}
OF_NUMBERS = {
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "rmse": "root of the mean squared error",
    "r2": "share of the targets' variance that is met: 1 - squared errors by squared deviations",
    "explained_variance": "r2 that forgives a constant error",
}

OVER_CLASSES: tuple[Any, Any] = (Literal["micro", "macro", "weighted"] | None, None)


def metrics() -> Iterator[Entry]:
    yield Entry("metric", "accuracy", f"{MADE}:accuracy", "share of samples whose largest output is the target")
    yield Entry("metric", "top_k", f"{MADE}:top_k", "share of samples whose class is among the k largest outputs", {
        "top_k": (Count, 5)})  # fmt: skip
    for name, doc in OF_COUNTS.items():
        yield Entry("metric", name, f"{MADE}:of_counts", f"{doc}: of two classes the second's, of more the mean over classes", {
            "average": OVER_CLASSES}, needs=TORCHMETRICS)  # fmt: skip
    for name, doc in CURVES.items():
        yield Entry("metric", name, f"{MADE}:curve", f"{doc}: of two classes the second's, of more the mean over classes", {
            "average": (Literal["macro", "weighted"], "macro")}, needs=TORCHMETRICS)  # fmt: skip
    yield Entry("metric", "confusion_matrix", f"{MADE}:confusion_matrix",
                "which classes are taken for which: plots/confusion_matrix-val.json and .png")  # fmt: skip
    for name, doc in OF_NUMBERS.items():
        yield Entry("metric", name, f"{MADE}:of_errors", doc)
    yield Entry("metric", "error_rate", f"{MADE}:error_rate", "edits by true labels, of the loss ctc's likeliest path")


METRICS = tuple(metrics())
