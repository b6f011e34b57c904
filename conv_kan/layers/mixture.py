"""Mixture of experts over images: noisy top-k gating per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.layers.arguments import NamedArguments, check_factory
from conv_kan.layers.inputs import check_tensor
from conv_kan.ops.maths.checks import check_int
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.modes import autocast_device, is_simulated, needs_composition, runs_again

_LEAST_NOISE = 1e-2
_TINY = 1e-10


class MixtureOfExperts(NamedArguments, nn.Module):
    """y_b = sum_e g_be expert_e(x_b) over the k experts with the largest gates of sample b.

        q = pre_gate(mean of x over positions), l = q W_gate, s = softplus(q W_noise) + 0.01
        l' = l + eps s in training if noisy, eps ~ N(0, 1), else l
        g = softmax of l' over its k largest entries, 0 elsewhere

    `expert` is called num_experts times; `pre_gate` maps (B, channels) to itself. A sample goes to
    its k experts only; compilers, exporters and torch.func run every expert on every sample, which
    differs only in the batch statistics of the experts in training. An expert without samples takes
    part with weight 0, so that all parameters have gradients (DistributedDataParallel needs them).

    `penalty()` after a forward pass in training is CV^2(importance) + CV^2(load), CV^2 =
    var / mean^2 over the experts: importance_e = sum_b g_be; load_e = sum_b P(e among the k
    largest of b if its noise is drawn again) = sum_b Phi((l_be - t_be) / s_be), t_be the k-th
    largest l' of the other experts; without noise or for k = num_experts the number of gates > 0.

    Shapes: x (B, channels, *S) -> y (B, ...) as the experts return. Parameters: gate_weight and
    noise_weight (channels, num_experts), the latter if noisy; experts.{e}.*, pre_gate.*.
    Numerics: gates and penalty at least in float32, y in the dtype of the experts' output. Eval
    mode is deterministic.
    Raises: ValueError for k < 1 or k > num_experts, an input of another number of channels;
    TypeError for experts that are no function.
    Source: Shazeer et al. (2017), "Outrageously Large Neural Networks", appendix A, with thresholds
    on the scale of l' (torch-conv-kan compares l with the softmax of l').
    """

    noise_weight: Tensor | None

    def __init__(
        self,
        channels: int,
        *,
        expert: Callable[[], nn.Module],
        num_experts: int = 8,
        k: int = 2,
        noisy: bool = True,
        pre_gate: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_int("channels", channels, 1)
        check_factory("expert", expert, "lambda: KANConv(16, 16, 3, padding=1)")
        check_int("num_experts", num_experts, 1)
        if check_int("k", k, 1) > num_experts:
            raise ValueError(f"k={k} exceeds num_experts={num_experts}; pass k <= {num_experts}.")
        self.channels, self.num_experts, self.k, self.noisy = channels, num_experts, k, noisy
        self.experts = nn.ModuleList(expert() for _ in range(num_experts))
        self.pre_gate = nn.Identity() if pre_gate is None else pre_gate
        self.gate_weight = nn.Parameter(torch.empty(channels, num_experts))
        noise_weight = nn.Parameter(torch.empty(channels, num_experts)) if noisy else None
        self.register_parameter("noise_weight", noise_weight)
        self._penalty: Tensor | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random gates, so that the experts begin to differ; noise of one size for all."""
        nn.init.normal_(self.gate_weight, std=0.1 / math.sqrt(self.channels))
        if self.noise_weight is not None:
            nn.init.zeros_(self.noise_weight)

    def forward(self, x: Tensor) -> Tensor:
        check_tensor("MixtureOfExperts", x)
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"MixtureOfExperts got an input of shape {tuple(x.shape)} but takes (batch, "
                f"{self.channels}, ...); check {self.channels} against the channels of the data."
            )
        if not x.is_floating_point():
            raise TypeError(
                f"MixtureOfExperts got {x.dtype} but takes floating-point images; "
                "type x.float() / 255."
            )
        gates = self._gates(x)
        if needs_composition():
            outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
            weights = gates.to(outputs.dtype).view(*gates.shape, *[1] * (outputs.dim() - 2))
            return (outputs * weights).sum(1)
        return self._dispatch(x, gates)

    def penalty(self) -> Tensor:
        """The balance penalty of the last forward pass in training, once; afterwards 0."""
        penalty, self._penalty = self._penalty, None
        return self.gate_weight.new_zeros(()) if penalty is None else penalty

    def _gates(self, x: Tensor) -> Tensor:
        """g (B, num_experts); in training the penalty is left for `penalty`."""
        pooled = promote(x).flatten(2).mean(2) if x.dim() > 2 else promote(x)
        q = promote(self.pre_gate(pooled.to(x.dtype)))
        with torch.autocast(device_type=autocast_device(x), enabled=False):
            clean = q @ self.gate_weight.to(q.dtype)
            logits, deviation = clean, None
            if self.noise_weight is not None and self.training:
                deviation = F.softplus(q @ self.noise_weight.to(q.dtype)) + _LEAST_NOISE
                logits = clean + torch.randn_like(clean) * deviation
            top = logits.topk(self.k, dim=1)
            values = top.values.softmax(1)
            gates = torch.zeros_like(logits).scatter(1, top.indices, values)
            if self.training:
                load = self._load(clean, logits, deviation, gates)
                penalty = squared_variation(gates.sum(0)) + squared_variation(load)
                if not runs_again():
                    self._penalty = penalty
        return gates

    def _load(
        self, clean: Tensor, logits: Tensor, deviation: Tensor | None, gates: Tensor
    ) -> Tensor:
        """The expected number of samples of every expert, differentiable if there is noise."""
        if deviation is None or self.k == self.num_experts:
            return (gates > 0).to(gates.dtype).sum(0)
        largest = logits.topk(self.k + 1, dim=1).values
        # The k-th largest of the others: one further down for an expert that is among the k.
        inside = logits >= largest[:, self.k - 1 : self.k]
        threshold = torch.where(inside, largest[:, self.k :], largest[:, self.k - 1 : self.k])
        return torch.special.ndtr((clean - threshold) / deviation).sum(0)

    def _dispatch(self, x: Tensor, gates: Tensor) -> Tensor:
        """Every expert on its own samples."""
        chosen = self._samples(gates.detach())
        busy = [e for e, samples in enumerate(chosen) if len(samples)] or [0]
        parts = []
        for e in busy:
            output = self.experts[e](x[chosen[e]])
            weights = gates[chosen[e], e].to(output.dtype)
            parts.append(output * weights.view(-1, *[1] * (output.dim() - 1)))
        values, samples = torch.cat(parts), torch.cat([chosen[e] for e in busy])
        y = values.new_zeros((x.shape[0], *values.shape[1:])).index_add(0, samples, values)
        return y + self._nothing(busy).to(y.dtype) if self.training else y

    def _samples(self, gates: Tensor) -> list[Tensor]:
        """The samples of every expert; equal shares in a simulation, whose gates have no values."""
        if is_simulated():
            share = -(-len(gates) * self.k // self.num_experts)
            return [gates.new_empty(share, dtype=torch.long) for _ in self.experts]
        return [gate.nonzero().squeeze(1) for gate in gates.unbind(1)]

    def _nothing(self, busy: list[int]) -> Tensor:
        """0, as a function of the parameters of the experts that got no sample."""
        idle = [expert for e, expert in enumerate(self.experts) if e not in busy]
        sums = [p.flatten()[:1].sum() * 0.0 for expert in idle for p in expert.parameters()]
        return torch.stack(sums).sum() if sums else self.gate_weight.new_zeros(())

    def __getstate__(self) -> dict[str, Any]:
        """Without the penalty, which holds a graph: copies and pickles begin with none."""
        return {**super().__getstate__(), "_penalty": None}  # type: ignore[misc]

    def extra_repr(self) -> str:
        return f"{self.channels}, num_experts={self.num_experts}, k={self.k}, noisy={self.noisy}"


class WithPenalty(nn.Module):
    """(y, loss_coef * penalty) of a layer that is or holds a mixture: the published interface.

    `train` is accepted and ignored, as published: the mode of the module decides. The penalty is
    taken out of the mixture, so that mixture_penalty does not count it again.
    Shapes: x (B, channels, *S) -> y as the layer returns, loss ().
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, x: Tensor, train: bool = True, loss_coef: float = 1e-2
    ) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        return y, loss_coef * mixture_penalty(self.layer).to(y.device)


def squared_variation(values: Tensor) -> Tensor:
    """CV^2 = var / mean^2, unbiased; 0 for one value."""
    if values.numel() < 2:
        return torch.zeros_like(values).sum()
    return values.var() / (values.mean().square() + _TINY)


def mixture_penalty(module: nn.Module) -> Tensor:
    """The sum of `penalty()` over all mixtures in `module`, once; 0 if there are none."""
    terms = [m.penalty() for m in module.modules() if isinstance(m, MixtureOfExperts)]
    return torch.stack(terms).sum() if terms else torch.zeros(())
