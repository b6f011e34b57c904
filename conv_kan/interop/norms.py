"""Which norm published convolutions had, read off the keys of their state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# The number is that of the group; the layer norms of linear layers have none.
_NORM = re.compile(r"(?:^|\.)layer_norm\.\d+\.(weight|running_mean)$")


def published_norm(keys: Iterable[str]) -> dict[str, Any]:
    """{"norm": ..., "affine": ...} of the convolutions whose published state dict, or keys, it is.

    Published configurations leave the norm out, but its tensors tell: running statistics are a
    batch norm's, weights alone an instance norm's, and nothing is an instance norm without weights.

        model = create_model("vggkagn", **published_norm(state))
    """
    found = {match[1] for key in keys if (match := _NORM.search(key))}
    norm = "batch" if "running_mean" in found else "instance"
    return {"norm": norm, "affine": "weight" in found}
