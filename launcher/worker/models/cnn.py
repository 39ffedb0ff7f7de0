from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from launcher.worker.models.activations import activation_layer


def cnn(
    *, in_channels: int, channels: Sequence[int] = (32, 64), num_classes: int, activation: str = "relu", dropout: float = 0.0
) -> nn.Sequential:
    """Convolutions of 3 x 3 with batch norm, each halving the image, then a linear layer.

    (N, in_channels, H, W) -> (N, num_classes).
    """

    def layers() -> Iterator[nn.Module]:
        width = in_channels
        for following in channels:
            yield nn.Conv2d(width, following, 3, padding=1, bias=False)
            yield nn.BatchNorm2d(following)
            yield activation_layer(activation)
            yield nn.MaxPool2d(2)
            width = following
        yield nn.AdaptiveAvgPool2d(1)
        yield nn.Flatten()
        if dropout:
            yield nn.Dropout(dropout)
        yield nn.Linear(width, num_classes)

    return nn.Sequential(*layers())
