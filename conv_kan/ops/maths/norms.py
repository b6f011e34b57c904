"""The norms of torch whose outputs are computed again: what they are and what they remember."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class Affine(NamedTuple):
    """What a norm has learned, (C,) or None each."""

    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def of(cls, norm: nn.Module) -> Affine:
        return cls(cast("Tensor | None", norm.weight), cast("Tensor | None", norm.bias))


class Statistics(NamedTuple):
    """The mean of what shares one, and 1 / sqrt(variance + eps)."""

    mean: Tensor
    rstd: Tensor


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels at every position of (B, C, *S)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def has_hooks(norm: nn.Module) -> bool:
    """Whether somebody listens to this norm, which must then be called."""
    return bool(norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks)


def subtracts_means(norm: nn.Module) -> bool:
    """Whether norm(y) is the same for y and for y plus a constant per channel.

    Batch norms by the statistics of the batch, and instance norms; not where somebody listens, who
    may want the mean. Only exact types count: a subclass may compute other things.
    """
    if type(norm) in (*BATCH_NORMS, nn.SyncBatchNorm, *INSTANCE_NORMS):
        by_batch = norm.training or norm.running_mean is None
        return by_batch and not has_hooks(norm)
    one_each = type(norm) is nn.GroupNorm and norm.num_groups == norm.num_channels
    return one_each and not has_hooks(norm)


def step_momentum(norm: nn.Module) -> tuple[float, bool]:
    """The momentum of this step, which is counted, and whether running statistics follow it."""
    assert isinstance(norm, BATCH_NORMS)
    momentum = 0.0 if norm.momentum is None else norm.momentum
    tracks = norm.training and norm.track_running_stats
    if tracks and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # cumulative average
            momentum = 1.0 / float(norm.num_batches_tracked)
    return momentum, tracks


def update_running(norm: nn.Module, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics towards those of a batch of `count` values per channel."""
    assert isinstance(norm, BATCH_NORMS)
    momentum, tracks = step_momentum(norm)
    if not tracks or norm.running_mean is None or norm.running_var is None:
        return
    unbiased = variance * (count / (count - 1))
    for running, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.mul_(1.0 - momentum).add_(value.squeeze(0).to(running.dtype), alpha=momentum)
