"""What loss scaling says: fp16 alone has it."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.diagnosis.curves import number
from launcher.diagnosis.verdict import Evidence, Records, Verdict

STORM = 0.05
"""Share of steps that were skipped: the scaler tries out a higher scale every 2,000 steps, which costs 0.0005."""
SETTLING_STEPS = 50
"""In which the scaler comes down from 65,536 to what the gradients bear."""


def overflow_storm(records: Records) -> Iterator[Verdict]:
    rows = [row for row in records.timings if number(row.get("skipped_steps")) and row["step"] > SETTLING_STEPS]
    if len(rows) < 2:
        return
    skipped, steps = sum(row["skipped_steps"] for row in rows[1:]), rows[-1]["step"] - rows[0]["step"]
    if steps <= 0 or skipped < 3 or skipped < STORM * steps:
        return
    worst = max(rows[1:], key=lambda row: row["skipped_steps"])
    scales = [row for row in rows if number(row.get("loss_scale"))]
    evidence = [Evidence(metric="skipped_steps", value=skipped, step=rows[-1]["step"]),
                Evidence(metric="skipped_steps", value=worst["skipped_steps"], step=worst["step"])]  # fmt: skip
    if scales:
        evidence.append(Evidence(metric="loss_scale", value=scales[-1]["loss_scale"], step=scales[-1]["step"]))
    yield Verdict(
        name="fp16 overflow storm",
        words=f"{skipped} of {steps} steps since step {rows[0]['step']} were skipped, their gradients being too large for fp16"
        + (f" (loss scale {scales[-1]['loss_scale']:g} at the end)" if scales else ""),
        evidence=tuple(evidence),
        field="train.precision",
        to="bf16",
        also="train.clip_grad_norm=1.0, a smaller train.optimizer.lr",
    )
