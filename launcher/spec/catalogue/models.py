"""Built-in networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.spec.base import About
from launcher.spec.catalogue.activations import ActivationName
from launcher.spec.catalogue.entry import REQUIRED, Arguments, Count, Entry, Share
from launcher.spec.catalogue.torchvision_networks import TORCHVISION_NETWORKS
from launcher.spec.target import Of, Target

Output = Annotated[
    Literal["last", "all"],
    About("`last`: one output for a sequence, after its last valid step. `all`: one for each step, (N, T, out_features)."),
]
RECURRENT: Arguments = {
    "input_size": (Count, REQUIRED), "hidden_size": (Count, 128), "num_layers": (Count, 1), "out_features": (Count, REQUIRED),
    "bidirectional": (bool, False), "dropout": (Share, 0.0), "output": (Output, "last"),
}  # fmt: skip
SEQUENCES = "over sequences (N, T, input_size), then a linear layer; batches with `input_lengths` are read as far as these go"

MODELS = (
    Entry("model", "mlp", "launcher.worker.models.mlp:mlp", "fully connected layers with an activation between them", {
        "in_features": (Count, REQUIRED), "hidden": (list[Count], [128]), "out_features": (Count, REQUIRED),
        "activation": (ActivationName, "relu"), "dropout": (Share, 0.0), "batch_norm": (bool, False)}),
    Entry("model", "cnn", "launcher.worker.models.cnn:cnn", "convolutions with batch norm and pooling, then a linear layer", {
        "in_channels": (Count, REQUIRED), "channels": (list[Count], [32, 64]), "num_classes": (Count, REQUIRED),
        "activation": (ActivationName, "relu"), "dropout": (Share, 0.0)}),
    Entry("model", "lstm", "launcher.worker.models.recurrent:recurrent", f"LSTM {SEQUENCES}", RECURRENT),
    Entry("model", "gru", "launcher.worker.models.recurrent:recurrent", f"gated recurrent units {SEQUENCES}", RECURRENT),
    Entry("model", "rnn", "launcher.worker.models.recurrent:recurrent", f"plain recurrent units {SEQUENCES}",
          {**RECURRENT, "activation": (Literal["tanh", "relu"], "tanh")}),
    Entry("model", "sequential", "launcher.worker.models.sequential:sequential", "layers of torch.nn, one after the other", {
        "layers": (Annotated[list[Annotated[Target, Of("layer")]], Field(min_length=1)], REQUIRED)}),
    *TORCHVISION_NETWORKS,
)  # fmt: skip
