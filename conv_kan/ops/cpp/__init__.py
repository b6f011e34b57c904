"""The expansion by C++ that is compiled at first use: for tensors on a CPU."""

from conv_kan.ops.cpp.launch import expand, pull_back, why_not
from conv_kan.ops.cpp.layout import fastest_format, in_format

__all__ = ["expand", "fastest_format", "in_format", "pull_back", "why_not"]
