"""Wavelets with learned places and widths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.bounds import bounded
from conv_kan.ops.maths.checks import check_choice, check_int
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.formula import Formula, camel_case
from conv_kan.ops.maths.wavelets import WAVELETS

_REACH = 2.0  # the first and last translation


class Wavelet(Basis):
    """phi_j(x) = psi((x - tau_j) / s_j), j = 0..K-1, K = num_wavelets.

    psi is "mexican_hat", "morlet", "dog", "meyer" or "shannon" (conv_kan.ops.maths.wavelets). The
    translations tau and dilations s are learned and shared by all channels; at first tau is evenly
    spaced on [-2, 2] (0 for a single function) and s = 1.

    Shapes: (B, C, *S) -> (B, C*num_wavelets, *S); translation, dilation (num_wavelets,).
    Raises: ValueError for an unknown wavelet, num_wavelets < 1, an unknown squash or scale;
    TypeError if num_wavelets is not an integer.
    Source: Wav-KAN (Bozorgasl and Chen, 2024), where every edge has its own tau and s.
    """

    def __init__(
        self,
        wavelet: str = "mexican_hat",
        num_wavelets: int = 4,
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        check_choice("wavelet", wavelet, WAVELETS)
        check_int("num_wavelets", num_wavelets, 1)
        super().__init__(num_wavelets, squash=squash, wavelet=wavelet, num_wavelets=num_wavelets)
        self.wavelet = wavelet
        self.translation = nn.Parameter(torch.empty(num_wavelets))
        self.dilation = nn.Parameter(torch.empty(num_wavelets))
        self.reset_parameters()
        places = torch.tensor(self._places(), dtype=torch.float64, device="cpu")
        self.set_scale(scale, places, torch.ones_like(places))

    def _places(self) -> list[float]:
        if self.num_functions == 1:
            return [0.0]
        step = 2.0 * _REACH / (self.num_functions - 1)
        return [j * step - _REACH for j in range(self.num_functions)]

    def reset_parameters(self) -> None:
        """Evenly spaced tau, s = 1."""
        with torch.no_grad():
            self.translation.copy_(torch.tensor(self._places(), device=self.translation.device))
        nn.init.ones_(self.dilation)

    @property
    def shape(self) -> tuple[Tensor, ...]:
        return self.translation, self.dilation

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        psi, z = WAVELETS[self.wavelet], bounded(self.squash(x))
        translations, dilations = (values.to(working_dtype(x)) for values in shape)
        return [psi((z - translations[j]) / dilations[j]) for j in range(self.num_functions)]

    def formula(self) -> Formula:
        count, psi = ("KAN_NUM_WAVELETS", str(self.num_functions)), camel_case(self.wavelet)
        return Formula("Wavelet", (count, ("KAN_WAVELET", psi), self.squash_macro()))
