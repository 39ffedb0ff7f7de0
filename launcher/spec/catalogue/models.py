"""Built-in networks."""

from __future__ import annotations

from launcher.spec.catalogue.entry import REQUIRED, Arguments, Count, Entry, Share

TORCHVISION: Arguments = {"num_classes": (Count, 1000), "in_channels": (Count, 3)}
VISION = ("torchvision.models",)

MODELS = (
    Entry("model", "resnet18", "launcher.worker.models:torchvision_model", "ResNet-18 of torchvision", TORCHVISION,
          needs=VISION),
    Entry("model", "resnet50", "launcher.worker.models:torchvision_model", "ResNet-50 of torchvision", TORCHVISION,
          needs=VISION),
    Entry("model", "mlp", "launcher.worker.models:mlp", "fully connected layers with an activation between them", {
        "in_features": (Count, REQUIRED), "hidden": (list[Count], [128]), "out_features": (Count, REQUIRED),
        "activation": (str, "relu"), "dropout": (Share, 0.0), "batch_norm": (bool, False)}),
    Entry("model", "cnn", "launcher.worker.models:cnn", "convolutions with batch norm and pooling, then a linear layer", {
        "in_channels": (Count, REQUIRED), "channels": (list[Count], [32, 64]), "num_classes": (Count, REQUIRED),
        "activation": (str, "relu"), "dropout": (Share, 0.0)}),
)  # fmt: skip
