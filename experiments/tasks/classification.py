"""What a training step minimises: a task maps a model and a batch to loss, logits and logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.layers.mixture import MixtureOfExperts, mixture_penalty
from conv_kan.layers.regularization import ActivationRecorder, kan_layers, l1_weight_norm
from experiments.config.schema import PenaltyConfig
from experiments.errors import ConfigError


class ClassificationTask:
    """Classification by `loss`, with penalties on the KAN layers of `model`.

    training loss = criterion + l1_decay * sum |w| + activation_l1 * sum_layers mean |y|
                    + activation_l2 * sum_layers mean y^2 + load_balance * sum_mixtures balance
    where w are the weights of all KAN layers, y a layer's output and balance the penalty() of a
    mixture of experts; a model without mixtures has no such term. A factor of 0 costs nothing: its
    term is not computed, and no hook is installed for it.

    A model may return several logits (deep supervision, Matryoshka widths): criterion is the mean
    of the loss over all of them, and the last, the full model's, are the logits returned.

    Build the task on the bare model, before it is compiled or wrapped for several processes.
    Gradient accumulation over A micro-batches divides each training loss by A, so that every
    penalty acts once per optimizer step.

    Raises:
        ConfigError: a penalty is on, but the model has no KAN layer for it to act on.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, penalty: PenaltyConfig) -> None:
        _check_penalties(model, penalty)
        self.model = model
        self.loss = loss
        self.penalty = penalty
        needed = penalty.activation_l1 > 0 or penalty.activation_l2 > 0
        self.recorder = ActivationRecorder(model) if needed else None
        self.has_mixtures = any(isinstance(m, MixtureOfExperts) for m in model.modules())

    def training_loss(
        self, model: Callable[[Tensor], Any], images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return (loss, logits, logs) of one micro-batch; model may be the wrapped model.

        logs holds the detached loss, and with penalties each of its terms (factor included).
        """
        criterion, logits = self._criterion(model(images), targets)
        terms = self._penalties()
        loss = criterion + sum(terms.values()) if terms else criterion
        logs = {"loss": loss.detach()}
        if terms:
            logs["criterion"] = criterion.detach()
            logs.update({name: term.detach() for name, term in terms.items()})
        return loss, logits.detach(), logs

    def evaluation_loss(
        self, model: Callable[[Tensor], Any], images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (criterion, logits) of one batch, without penalties."""
        outputs = model(images)
        if self.recorder is not None:
            self.recorder.pop()  # these outputs must not enter the next training loss
        return self._criterion(outputs, targets)

    def _criterion(self, outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(outputs, (tuple, list)):
            outputs = [outputs]
        losses = [self.loss(logits, targets) for logits in outputs]
        criterion = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return criterion, outputs[-1]

    def close(self) -> None:
        """Remove the hooks of the activation penalties."""
        if self.recorder is not None:
            self.recorder.close()

    def _penalties(self) -> dict[str, Tensor]:
        """The penalty terms that are switched on, each times its factor."""
        terms = {}
        if self.penalty.l1_decay > 0:
            terms["l1_decay"] = self.penalty.l1_decay * l1_weight_norm(self.model)
        if self.recorder is not None:
            l1, l2 = self.recorder.pop()
            if self.penalty.activation_l1 > 0:
                terms["activation_l1"] = self.penalty.activation_l1 * l1
            if self.penalty.activation_l2 > 0:
                terms["activation_l2"] = self.penalty.activation_l2 * l2
        if self.has_mixtures and self.penalty.load_balance > 0:
            terms["load_balance"] = self.penalty.load_balance * mixture_penalty(self.model)
        return terms


def _check_penalties(model: nn.Module, penalty: PenaltyConfig) -> None:
    factors = {key: value for key, value in vars(penalty).items() if key != "load_balance"}
    on = [f"penalty.{key}={value}" for key, value in factors.items() if value > 0]
    if on and next(kan_layers(model), None) is None:
        raise ConfigError(
            f"{', '.join(on)}: acts on KAN layers, and {type(model).__name__} has none; choose a "
            f"KAN model or type {' '.join(f'penalty.{key}=0' for key in factors)}"
        )
