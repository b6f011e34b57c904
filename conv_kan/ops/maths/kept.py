"""What a forward pass makes of weights alone, kept until they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from conv_kan.ops.maths.plan import ForwardWeights


class KeptWeights:
    """ForwardWeights, made anew only for another kind of image or other values of the weights.

    Noticed is another tensor, and every change that torch counts: operations in place, under
    no_grad too, copies into it (load_state_dict, optimizers) and assignments to its `data`. A write
    through `data` or a NumPy view leaves no trace; after one, `forget`.
    """

    _MOST = 16  # kinds of images, above which nobody keeps track

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Make everything anew at the next call."""
        self._state: tuple[Any, ...] = ()
        self._seen: tuple[Tensor | None, ...] = ()
        self._kept: dict[tuple[Any, ...], ForwardWeights] = {}

    def get(
        self,
        weights: Sequence[Tensor | None],
        kind: tuple[Any, ...],
        make: Callable[[], ForwardWeights],
    ) -> ForwardWeights:
        """What `make` returns for these weights and this kind of image."""
        state = tuple(None if w is None else _state(w) for w in weights)
        if state != self._state or len(self._kept) >= self._MOST:
            self.forget()
            self._state = state
            # Held, so that nothing else can come to lie at the addresses of the state.
            self._seen = tuple(None if w is None else w.detach() for w in weights)
        if kind not in self._kept:
            self._kept[kind] = make()
        return self._kept[kind]

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptWeights:
        return KeptWeights()

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptWeights, ()


def _state(weight: Tensor) -> tuple[int, object]:
    """What is another one if the weight has changed, or if nobody can tell (inference mode)."""
    return weight.data_ptr(), object() if weight.is_inference() else weight._version
