"""Every built-in target: its short name, what it builds, and its arguments with their types.

One line in the file of its kind is all that a new model, loss, optimizer or metric needs; the job's types, `launch explain`, the
JSON Schema, completion and the worker's building follow from it. Arguments keep the names and meanings of what is built.
"""

from __future__ import annotations

from itertools import chain

from launcher.spec.catalogue.augment import AUGMENT
from launcher.spec.catalogue.collate import COLLATE
from launcher.spec.catalogue.data import DATA
from launcher.spec.catalogue.entry import REQUIRED, Entry, Kind
from launcher.spec.catalogue.inits import INITS
from launcher.spec.catalogue.layers import LAYER_ENTRIES
from launcher.spec.catalogue.losses import LOSSES
from launcher.spec.catalogue.metrics import METRICS
from launcher.spec.catalogue.models import MODELS
from launcher.spec.catalogue.optimizers import OPTIMIZERS
from launcher.spec.catalogue.sampling import SAMPLING, SMOTE
from launcher.spec.catalogue.schedules import SCHEDULES

__all__ = ["CATALOGUE", "REQUIRED", "Entry", "Kind", "names"]

KINDS = (MODELS, LOSSES, OPTIMIZERS, SCHEDULES, DATA, COLLATE, AUGMENT, SAMPLING, SMOTE, METRICS, INITS, LAYER_ENTRIES)
CATALOGUE: dict[tuple[Kind, str], Entry] = {(entry.kind, entry.name): entry for entry in chain(*KINDS)}


def names(kind: Kind) -> list[str]:
    return [name for of_kind, name in CATALOGUE if of_kind == kind]
