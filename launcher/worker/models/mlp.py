from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from launcher.worker.models.activations import activation_layer


def mlp(
    *, in_features: int, hidden: Sequence[int] = (128,), out_features: int, activation: str = "relu", dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:  # fmt: skip
    """Fully connected layers: (N, in_features) -> (N, out_features)."""

    def layers() -> Iterator[nn.Module]:
        width = in_features
        for following in hidden:
            yield nn.Linear(width, following)
            if batch_norm:
                yield nn.BatchNorm1d(following)
            yield activation_layer(activation)
            if dropout:
                yield nn.Dropout(dropout)
            width = following
        yield nn.Linear(width, out_features)

    return nn.Sequential(*layers())
