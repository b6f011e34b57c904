"""Initial coefficients of group rationals by the name of the function they imitate.

Each row is (a_0..a_5), (b_1..b_4) of F = P / Q with Q = 1 + sum |b_m| |x|^m. The rows published_*
are those of KAT whose coefficients were fitted to 1 + |sum b_m x^m| instead: in the form that KAT
computes, they miss their targets on [-3, 3] by 1.46 (gelu), 0.94 (geglu), 1.71 (swishglu) and 0.085
(erfc_softplus_2). The rows without that prefix were fitted to the form that is computed, by
conv_kan.bases.rational_fit, and miss by 2.8e-3, 2.8e-3, 2.0e-4 and 3.1e-4.
"""

from __future__ import annotations

import math

from conv_kan.ops.maths.checks import check_choice

Coefficients = tuple[tuple[float, ...], tuple[float, ...]]

RATIONALS: dict[str, Coefficients] = {
    "identity": ((0, 1, 0, 0, 0, 0), (0, 0, 0, 0)),
    "swish": (
        (3.05488e-7, 0.5000008, 0.249997834, 0.053266283, 0.0058030346, 0.0002751961),
        (-4.111555e-6, 0.10652899, -1.26900074e-6, 0.0005502331),
    ),
    "gelu": (
        (-0.0009929741, 0.4986384, 0.4060931, 0.1085631, 0.01069798, 0.0004696722),
        (1.347294e-05, 0.210351, 0.004921872, 0),
    ),
    "gelu_old": (
        (-0.0012423594, 0.5080497, 0.41586363, 0.1302272, 0.0243559, 0.0029028395),
        (-0.066750157, 0.17927646, 0.037466826, 1.656161e-10),
    ),
    "relu": (
        (0.0299638, 0.6168978, 2.3753476, 3.06599, 1.5246832, 0.25280709),
        (-1.1915501, 4.4080488, 0.9110357, 0.34884978),
    ),
    "leaky_relu": (
        (0.029792779, 0.6183735, 2.323309, 3.0519362, 1.4854203, 0.251024496),
        (-1.1419548, 4.39316, 0.8714712, 0.3471966),
    ),
    "leaky_relu_0.1": (
        (0.028001623, 0.63566064, 1.9230178, 2.967527, 1.1911337, 0.23922607),
        (-0.78020794, 4.2781906, 0.5865922, 0.3344702),
    ),
    "tanh": (
        (-1.0804623e-8, 1.0003008, -2.58782e-8, 0.0963213, 3.4775842e-9, 0.000425570923),
        (-0.0013027181, 0.42834902, 1.4524304e-9, 0.010796648),
    ),
    "sigmoid": (
        (0.49999925, 0.25002158, 0.14061925, 0.04942049, 0.0087671485, 0.0006442413),
        (2.1694506e-9, 0.28122766, 1.0123621e-5, 0.017531988),
    ),
    "geglu": (
        (2.08456e-05, -0.006059909, 0.499924, 0.4162131, 0.1129811, 0.009819439),
        (0, 0.2258718, 2.588565e-05, 0),
    ),
    "swishglu": (
        (-2.783389e-05, 0.0001588202, 0.5002938, 0.2497556, 0.04855629, 0.003670929),
        (0.0007471413, 0.09684848, 0, 9.051228e-06),
    ),
    "erfc_softplus_2": (
        (0.1072005, -0.2292313, 0.1871798, -0.07077782, 0.01172069, -0.0005787063),
        (0.02332302, 0.3558352, 0, 0.02298382),
    ),
    "published_gelu": (
        (-0.00153969, 0.51692871, 0.44075827, 0.0972553, -0.00884418, -0.00378675),
        (-0.14171056, -0.06481231, -0.0444695, 0.01283776),
    ),
    "published_geglu": (
        (0.00079642, -0.00602563, 0.49750578, 0.47691076, 0.15421425, 0.0168486),
        (-0.12619161, -0.20067464, -0.03005465, 0.0027335),
    ),
    "published_swishglu": (
        (-0.00111528, -0.00334562, 0.5310766, 0.27851476, 0.06044361, 0.00483468),
        (0.14408492, 0.02008671, 0.02944107, -0.00329516),
    ),
    "published_erfc_softplus_2": (
        (0.10685354, -0.23290146, 0.19928975, -0.08317628, 0.01685602, -0.0013217),
        (-0.04596856, 0.4134001, 0.01430384, 0.03504373),
    ),
}


def find_rational(init: object) -> Coefficients:
    """The coefficients of a name, or those given as a pair ((a_0, ...), (b_1, ...)) of any lengths.

    Raises: ValueError for an unknown name -> the nearest one, and for what is no such pair.
    """
    if isinstance(init, str):
        return RATIONALS[check_choice("init", init, RATIONALS)]
    try:
        a, b = (tuple(float(c) for c in part) for part in init)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        a, b = (), ()
    if not a or not all(map(math.isfinite, (*a, *b))):
        raise ValueError(
            f"init={init!r} must be a name or two rows of numbers, of P and of Q without its 1; "
            "pass for example 'gelu' or ((0, 1), (0.5,)) for x / (1 + 0.5 |x|)."
        )
    return a, b
