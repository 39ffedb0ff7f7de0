"""What the predictions say."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.diagnosis.verdict import Evidence, Records, Verdict

EARLY_STEPS = 40
"""In which a network that has not learned yet may well say the same of every sample."""


def collapse(records: Records) -> Iterator[Verdict]:
    """All predictions of the last evaluation fall on one class, which an event of that evaluation tells."""
    evaluated = [row["step"] for row in records.rows if any(key.startswith("val/") for key in row)]
    told = [entry for entry in records.entries if entry.get("event") == "one_class"]
    if not evaluated or evaluated[-1] < EARLY_STEPS or not told or told[-1].get("step") != evaluated[-1]:
        return
    last = told[-1]
    epoch = next(row.get("epoch") for row in records.rows if row["step"] == last["step"])
    since = min(entry["step"] for entry in told)
    yield Verdict(
        name="collapse to one class",
        words=f"{last['share']:.0%} of the predictions at step {last['step']} are class {last['class']}, which is "
        f"{last['of_targets']:.0%} of the targets (first seen at step {since}): the other classes are not told apart",
        evidence=(
            Evidence(metric="share of predictions", value=last["share"], step=last["step"], epoch=epoch),
            Evidence(metric="share of targets", value=last["of_targets"], step=last["step"], epoch=epoch),
        ),
        field="train.data.sampling",
        to="balanced",
        also="train.loss.weight=auto, train.data.smote=true on array data; a smaller train.optimizer.lr for even classes",
    )
