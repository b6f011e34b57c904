"""Terms that a training loss has beside its criterion, whatever the task."""

from __future__ import annotations

from torch import Tensor, nn

from conv_kan.layers.mixture import MixtureOfExperts, mixture_penalty
from conv_kan.layers.regularization import ActivationRecorder, kan_layers, l1_weight_norm
from experiments.config.losses import PenaltyConfig
from experiments.errors import ConfigError


class Penalties:
    """l1_decay * sum |w| + activation_l1 * sum_layers mean |y| +
    activation_l2 * sum_layers mean y^2 + load_balance * sum_mixtures balance,

    where w are the weights of all KAN layers, y a layer's output and balance the penalty() of a
    mixture of experts; a model without mixtures has no such term. A factor of 0 costs nothing: its
    term is not computed, and no hook is installed for it.

    Build them on the bare model, before it is compiled or wrapped for several processes.

    Raises:
        ConfigError: a penalty is on, but the model has no KAN layer for it to act on.
    """

    def __init__(self, model: nn.Module, config: PenaltyConfig) -> None:
        _check_penalties(model, config)
        self.model, self.config = model, config
        needed = config.activation_l1 > 0 or config.activation_l2 > 0
        self.recorder = ActivationRecorder(model) if needed else None
        self.has_mixtures = any(isinstance(m, MixtureOfExperts) for m in model.modules())

    def terms(self) -> dict[str, Tensor]:
        """The terms of the last forward pass that are switched on, each times its factor."""
        config, terms = self.config, {}
        if config.l1_decay > 0:
            terms["l1_decay"] = config.l1_decay * l1_weight_norm(self.model)
        if self.recorder is not None:
            l1, l2 = self.recorder.pop()
            if config.activation_l1 > 0:
                terms["activation_l1"] = config.activation_l1 * l1
            if config.activation_l2 > 0:
                terms["activation_l2"] = config.activation_l2 * l2
        if self.has_mixtures and config.load_balance > 0:
            terms["load_balance"] = config.load_balance * mixture_penalty(self.model)
        return terms

    def forget(self) -> None:
        """Forget the outputs of the last forward pass: they must not enter the next loss."""
        if self.recorder is not None:
            self.recorder.pop()

    def close(self) -> None:
        """Remove the hooks."""
        if self.recorder is not None:
            self.recorder.close()


def _check_penalties(model: nn.Module, config: PenaltyConfig) -> None:
    factors = {key: value for key, value in vars(config).items() if key != "load_balance"}
    on = [f"penalty.{key}={value}" for key, value in factors.items() if value > 0]
    if on and next(kan_layers(model), None) is None:
        raise ConfigError(
            f"{', '.join(on)}: acts on KAN layers, and {type(model).__name__} has none; choose a "
            f"KAN model or type {' '.join(f'penalty.{key}=0' for key in factors)}"
        )
