"""What makes a batch of a list of items."""

from __future__ import annotations

from launcher.spec.catalogue.entry import Entry

COLLATE = (
    Entry("collate", "default", "launcher.worker.data.collate:default", "torch's: items of one shape, stacked"),
    Entry("collate", "pad", "launcher.worker.data.collate:Pad",
          "sequences filled up to the longest: a mapping with input, input_lengths, target, and target_lengths where targets are "
          "sequences", {"value": (float, 0.0), "target_value": (int, -100)}),
)  # fmt: skip
