"""The expansion by C++ that is compiled at first use: for tensors on a CPU."""

from conv_kan.ops.cpp.launch import expand, pull_back, why_not

__all__ = ["expand", "pull_back", "why_not"]
