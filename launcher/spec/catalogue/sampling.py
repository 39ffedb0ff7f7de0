"""Which samples an epoch draws, where it is not each sample once; and SMOTE, imbalanced-learn's."""

from __future__ import annotations

from typing import Annotated

from launcher.spec.base import Said
from launcher.spec.catalogue.entry import Arguments, Count, Entry, Rate

HERE = "launcher.worker.data.sampling:"
FILE = Annotated[str, Said("the path of a .npy file or of a text file with a number in each line", "weights.npy")]

SAMPLING = (
    Entry("sampling", "weighted", f"{HERE}weighted",
          "as many draws as samples, each in proportion to a weight: one for each sample (a list or a file), one for each class, "
          "or by default in inverse proportion to the class's frequency", {
              "weights": (list[Rate] | FILE | None, None), "class_weights": (list[Rate] | None, None),
              "num_samples": (Count | None, None), "replacement": (bool, True)}),
    Entry("sampling", "balanced", f"{HERE}balanced",
          "as many draws as samples, each class equally often; of a class every sample once before one comes twice",
          {"num_samples": (Count | None, None)}),
    Entry("sampling", "oversample", f"{HERE}oversample",
          "every class as often as the most frequent one, whose samples each come once: the epoch gets longer"),
    Entry("sampling", "undersample", f"{HERE}undersample",
          "every class as often as the rarest one, other samples each epoch, none twice in it: the epoch gets shorter"),
)  # fmt: skip

NEIGHBOURS: Arguments = {"k_neighbors": (Count, 5)}
IMBLEARN = ("imblearn.over_sampling",)

SMOTE = (
    Entry("smote", "smote", "imblearn.over_sampling:SMOTE",
          "new samples of every class but the most frequent one, between neighbours of its own, until all are equally frequent "
          "(Chawla et al. 2002)", NEIGHBOURS, needs=IMBLEARN),
    Entry("smote", "borderline_smote", "imblearn.over_sampling:BorderlineSMOTE",
          "the same, from samples near other classes (Han et al. 2005)", {**NEIGHBOURS, "m_neighbors": (Count, 10)},
          needs=IMBLEARN),
)  # fmt: skip
