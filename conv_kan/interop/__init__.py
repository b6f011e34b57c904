"""Published weights (torch-conv-kan, KAT, efficient-kan, torchkan) in and out."""

from conv_kan.interop.norms import published_norm
from conv_kan.interop.state import LoadResult, export_published, load_published, published_names

__all__ = ["LoadResult", "export_published", "load_published", "published_names", "published_norm"]
