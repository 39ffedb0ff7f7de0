"""Built-in networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from launcher.worker.errors import WorkerError

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus,
}  # fmt: skip


def activation_layer(name: str) -> nn.Module:
    """Raises WorkerError with the accepted names."""
    found = ACTIVATIONS.get(name) or getattr(nn, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise WorkerError(
            f"no activation is called '{name}': write one of {', '.join(ACTIVATIONS)}, or a torch.nn name", kind="spec"
        )
    return found()


def torchvision_model(*, name: str, num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """A network of torchvision.models, its first convolution replaced where the images have not 3 channels."""
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None, num_classes=num_classes)
    if in_channels != 3:
        replace_first_convolution(model, in_channels)
    return model


def replace_first_convolution(model: nn.Module, in_channels: int) -> None:
    path, first = next((path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d))
    replacement = nn.Conv2d(
        in_channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )  # fmt: skip
    # As torchvision initialises its residual networks.
    nn.init.kaiming_normal_(replacement.weight, mode="fan_out", nonlinearity="relu")
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, replacement)


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
