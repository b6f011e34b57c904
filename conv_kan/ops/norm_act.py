"""a = act(norm(y)) that keeps y and the statistics of the norm; norm(y) is computed again.

Composed naively, the norm keeps y and the activation keeps norm(y): two maps instead of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from conv_kan.ops.backend import uses_cpp
from conv_kan.ops.cpp.build import TYPES
from conv_kan.ops.cpp.norm import Act, Sharing, fused_norm_act, kernels
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.modes import autocast_device, needs_composition
from conv_kan.ops.maths.norms import Affine, Statistics, update_running
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted
from conv_kan.ops.plain.norm import NormPlan, plan_norm

Activation = Callable[..., Tensor]


def norm_act(
    y: Tensor,
    norm: nn.Module | None,
    act: Activation | None,
    act_params: Sequence[Tensor] = (),
    name: str | None = None,
    backend: str = "torch",
) -> Tensor:
    """a = act(norm(y), *act_params); None stands for the identity.

    For the batch, instance, group and layer norms of torch, the training step keeps y and the
    statistics. Any other norm module, and any norm with hooks, is composed in the plain way.
    Running statistics, momentum=None, num_batches_tracked and eval mode are torch's. With the
    `name` of the activation, compiled kernels may serve batch, instance and group norms.
    Shapes: y, a (B, C, *S).
    Numerics: a has the dtype of y. Where y and the parameters of a group or layer norm differ in
    dtype, it is computed in the dtype of the parameters; compiled kernels compute in float32, or
    float64 for float64.
    """
    if norm is None:
        return y if act is None else act(y, *act_params).to(y.dtype)
    plan = None if needs_composition() else plan_norm(y, norm)
    if plan is not None and plan.kind != "layer":
        name = "identity" if act is None else name
        if name is not None and fuses(y, name, backend):
            with torch.autocast(device_type=autocast_device(y), enabled=False):
                return _fused(plan, y, norm, Act(name, act), act_params)
    if plan is None or act is None or not torch.is_grad_enabled():
        z = norm(y)
        return (z if act is None else act(z, *act_params)).to(y.dtype)
    with torch.autocast(device_type=autocast_device(y), enabled=False):
        with torch.no_grad():
            z, statistics = plan.normalize(y, norm)
        return _NormAct.apply(plan, act, y, *Affine.of(norm), z, *statistics, *act_params)


def fuses(y: Tensor, activation: str, backend: str) -> bool:
    """Whether compiled kernels compute this norm and activation."""
    return y.dtype in TYPES and uses_cpp(y, backend, lambda: kernels(activation, y.dtype))


def _fused(
    plan: NormPlan, y: Tensor, norm: nn.Module, act: Act, act_params: Sequence[Tensor]
) -> Tensor:
    """act(norm(y)) by compiled kernels."""
    y = y.contiguous(memory_format=memory_format(y))
    sharing = Sharing(plan.num_groups, plan.eps, plan.kind == "group" or plan.uses_batch)
    with torch.no_grad():
        if sharing.from_batch:
            mean, variance = sharing.statistics(y, act.name)
            if plan.kind == "batch":
                update_running(norm, mean, variance, y.numel() // y.shape[1])
        else:
            running = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            mean, variance = (t.double().unsqueeze(0) for t in running)
    statistics = Statistics(mean, torch.rsqrt(variance + sharing.eps))
    slope = act_params[0] if act_params else None
    return fused_norm_act(y, Affine.of(norm), statistics, sharing, act, slope)


class _NormAct(torch.autograd.Function):
    """act(z) for z = norm(y) already computed; keeps y in its place."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: NormPlan,
        act: Activation,
        y: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        z: Tensor,
        mean: Tensor,
        rstd: Tensor,
        *act_params: Tensor,
    ) -> Tensor:
        ctx.plan, ctx.act = plan, act
        ctx.save_for_backward(y, weight, bias, mean, rstd, *act_params)
        return act(z, *act_params)

    @staticmethod
    def backward(ctx: Any, grad_a: Tensor) -> tuple[Tensor | None, ...]:
        y, weight, bias, mean, rstd, *act_params = ctx.saved_tensors
        if graph_is_wanted():
            return (None, None, *_differentiable_grads(ctx, grad_a))
        affine, statistics = Affine(weight, bias), Statistics(mean, rstd)
        needs_y, needs_weight, needs_bias, _, _, _, *needs_params = ctx.needs_input_grad[2:]
        mask = [needs_y, needs_weight, needs_bias]
        with torch.autocast(device_type=autocast_device(y), enabled=False):
            z = ctx.plan.recompute(y, affine, statistics)
            grad_z, *grad_params = _pull_back_act(
                ctx.act, grad_a, z, act_params, [any(mask), *needs_params]
            )
            grads: tuple[Tensor | None, ...] = (None, None, None)
            if grad_z is not None:
                grads = ctx.plan.backward(grad_z, y, affine, statistics, mask)
        # Native operations may fill what the mask leaves out.
        kept = [grad if need else None for grad, need in zip(grads, mask, strict=True)]
        return (None, None, *kept, None, None, None, *grad_params)


def _differentiable_grads(ctx: Any, grad_a: Tensor) -> list[Tensor | None]:
    """Gradients of (y, weight, bias, z, mean, rstd, *act_params) that can be differentiated again.

    z, mean and rstd are functions of y, and have none of their own.
    """
    y, weight, bias, mean, rstd, *act_params = ctx.saved_tensors
    needs, needs_params = list(ctx.needs_input_grad[2:5]), list(ctx.needs_input_grad[8:])

    def composition(
        y: Tensor, weight: Tensor | None, bias: Tensor | None, *params: Tensor
    ) -> Tensor:
        z = ctx.plan.compose(y, Affine(weight, bias), Statistics(mean, rstd))
        a: Tensor = ctx.act(z, *params)
        return a

    inputs = [y, weight, bias, *act_params]
    with torch.autocast(device_type=autocast_device(y), enabled=False):
        grads = differentiable_grads(composition, inputs, [*needs, *needs_params], grad_a)
    return [*grads[:3], None, None, None, *grads[3:]]


def _pull_back_act(
    act: Activation, grad_a: Tensor, z: Tensor, params: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of act(z, *params) in z and params, where needed."""
    with torch.enable_grad():
        leaves = [
            t.detach().requires_grad_(need) for t, need in zip([z, *params], needs, strict=True)
        ]
        a = act(*leaves)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not wanted:
        return [None] * len(leaves)
    found = iter(torch.autograd.grad(a, wanted, grad_a.to(a.dtype)))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]
