"""Batch norm over all ranks' samples, on CPU and CUDA, with any number of samples on each rank.

torch's own refuses the CPU and an empty batch. Forward: every rank's count, mean and variance are gathered and combined (Chan et
al.), in the order of ranks, so that the result is the same on all of them. Backward: two sums per channel are added over ranks.
A batch of one value per channel, which torch refuses, has variance 0 here: a short last batch must not end a training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from launcher.worker.world import World


class Normalize(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) * weight + bias with the whole group's mean and variance, which it also returns."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, ranks: int, counting: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, var, count = combined(x if counting else x[:0], ranks)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps), count)
        ctx.ranks, ctx.counting = ranks, counting
        ctx.mark_non_differentiable(mean, var, count)
        # What does not count goes by its own moments: by those of others it might grow from norm to norm to infinity.
        own_mean, own_var = (mean, var) if counting else moments(x)
        y = F.batch_norm(x, own_mean, own_var, weight, bias, training=False, eps=eps) if x.numel() else torch.empty_like(x)
        return y, mean, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        d_weight, d_bias = channel_sums(dy, x, mean, inverse)
        sums = torch.stack((d_bias, d_weight))
        if ctx.ranks > 1:
            dist.all_reduce(sums)
        if not ctx.counting:
            return torch.zeros_like(dy), d_weight, d_bias, None, None, None
        of_dy, of_dy_x = sums / count
        # dx = w * inverse * (dy - mean(dy) - x_hat * mean(dy * x_hat)), as one multiple of dy, one of x and a constant
        of_x = -of_dy_x * inverse
        factor = weight * inverse
        shape = (1, -1) + (1,) * (x.ndim - 2)
        constant = (factor * (-of_dy - of_x * mean)).view(shape)
        dx = torch.addcmul(torch.addcmul(constant, x, (factor * of_x).view(shape)), dy, factor.view(shape))
        return dx, d_weight, d_bias, None, None, None


def combined(x: Tensor, ranks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance per channel, and the number of values per channel, over all ranks."""
    count, (mean, var) = x.numel() // x.shape[1], moments(x)
    if ranks == 1:
        return mean, var, torch.full_like(mean[:1], count)
    own = torch.cat((mean, var, torch.full_like(mean[:1], count)))
    parts = [torch.empty_like(own) for _ in range(ranks)]
    dist.all_gather(parts, own)
    gathered = torch.stack(parts)
    means, variances = gathered[:, :-1].view(ranks, 2, -1).unbind(1)
    counts = gathered[:, -1:]
    total = counts.sum(0)
    mean = (means * counts).sum(0) / total
    var = ((variances + (means - mean).square()) * counts).sum(0) / total
    return mean, var, total


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        return x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
    if x.device.type == "cpu":
        # Four times as fast as var_mean.
        return torch.batch_norm_update_stats(x, None, None, 0.0)
    var, mean = torch.var_mean(x, dim=[0, *range(2, x.ndim)], correction=0)
    return mean, var


def channel_sums(dy: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Per channel, of this rank: sum of dy * x_hat, and sum of dy."""
    if x.numel() == 0:
        return torch.zeros_like(mean), torch.zeros_like(mean)
    # CUDA's wants a weight, whichever: it has no part in these two sums.
    _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
        laid_out_as(x, dy), x, mean, None, None, mean, inverse, True, 0.0, [False, True, True]
    )
    return d_weight, d_bias


def laid_out_as(x: Tensor, dy: Tensor) -> Tensor:
    """On a GPU channels-last where `x` is: else the kernel reads with strides. On the CPU the order decides the last bits."""
    last = x.device.type == "cuda" and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return dy.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class Synchronized(_BatchNorm):
    """What a batch norm becomes: the same module under a new class, so that its parameters, hooks and keys stay."""

    ranks: int
    counting: bool = True
    """Whether the samples at hand are this rank's, and not one that stands in for none."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        if input.ndim < 2:
            raise ValueError(f"batch norm takes at least 2 dimensions (N, C, ...), got {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        self._check_input_dim(input)
        plain = not (self.training or self.running_mean is None)
        if plain or (self.ranks == 1 and self.counting and input.numel() > input.shape[1]):
            return super().forward(input)
        return self.normalized(input)

    def normalized(self, x: Tensor) -> Tensor:
        """In the statistics' precision: half precision is not enough for them."""
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = self.weight if self.affine else x.new_ones(x.shape[1], dtype=wide)
        bias = self.bias if self.affine else x.new_zeros(x.shape[1], dtype=wide)
        with torch.autocast(x.device.type, enabled=False):
            y, mean, var, count = Normalize.apply(x.to(wide), weight, bias, self.eps, self.ranks, self.counting)
        if self.training and self.running_mean is not None:
            self.update(mean, var, count)
        return cast(Tensor, y.to(x.dtype))

    @torch.no_grad()
    def update(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        """Running statistics, with the unbiased variance. Without a sample they stay."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        if self.ranks == 1 and not bool(count):
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked.to(mean)
        unbiased = var * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


def synchronize(model: nn.Module, *, ranks: int) -> list[str]:
    """Batch norms share their statistics over so many ranks; with 1 they only learn to take batches of 0 and 1 samples.

    A user's own batch norm, with a forward of its own, is left alone: the names of those.
    """
    left = []
    for name, module in model.named_modules():
        kind = type(module)
        if not isinstance(module, _BatchNorm):
            continue
        if kind.forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
            left.append(name)
            continue
        module.__class__ = type(kind.__name__, (Synchronized, kind), {})
        cast(Synchronized, module).ranks = ranks
    return left


@contextmanager
def standing_in(model: nn.Module, *, stands_in: bool) -> Iterator[None]:
    """Around forward and backward of a rank without samples: the one that stands in for none has no part in any statistics."""
    apart = [module for module in model.modules() if isinstance(module, Synchronized)] if stands_in else []
    for norm in apart:
        norm.counting = False
    try:
        yield
    finally:
        for norm in apart:
            del norm.counting


def unsynchronize(model: nn.Module) -> None:
    """Ordinary modules again, as their user knows them."""
    for module in model.modules():
        if isinstance(module, Synchronized):
            del module.ranks
            module.__class__ = type(module).__bases__[1]


def norms(model: nn.Module) -> list[_BatchNorm]:
    """Those that keep running statistics."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]


def shared(norm: nn.Module) -> bool:
    """Whether its statistics are of all ranks' samples."""
    return isinstance(norm, Synchronized) and norm.ranks > 1


def always_synchronized(model: nn.Module) -> bool:
    """Whether evaluating, too, is a collective: without running statistics a norm takes those of the batch."""
    return any(shared(module) and module.running_mean is None for module in model.modules())


@contextmanager
def agreed(model: nn.Module, world: World) -> Iterator[None]:
    """Running statistics that ranks keep for themselves are their mean during an evaluation; then each has its own again."""
    alone = [] if world.world_size == 1 else [norm for norm in norms(model) if not shared(norm)]
    own = [buffer for norm in alone for buffer in statistics(norm)]
    kept = [buffer.clone() for buffer in own]
    for buffer in own:
        dist.all_reduce(buffer)
        buffer.div_(world.world_size)
    try:
        yield
    finally:
        for buffer, value in zip(own, kept, strict=True):
            buffer.copy_(value)


def statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
