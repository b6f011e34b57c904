"""Options that the networks of several families share."""

from models.options import Option

# The classifiers of models.heads; those beyond the first need KAN layers.
LINEAR_HEADS = ("linear", "vgg", "matryoshka")
KAN_HEADS = ("kan", "hidden_kan", "kantryoshka")

# Suffix of a name -> kind of its layers and form; None is the plain twin.
KINDS_BY_SUFFIX: dict[str, tuple[str | None, str]] = {
    "": (None, "plain"),
    "kan": ("bspline", "plain"),
    "fastkan": ("rbf", "plain"),
    "kaln": ("legendre", "plain"),
    "kacn": ("chebyshev", "plain"),
    "kagn": ("gram", "plain"),
    "kajn": ("jacobi", "plain"),
    "kabn": ("bernstein", "plain"),
    "relukan": ("relu", "plain"),
    "wavkan": ("wavelet", "plain"),
    "fourierkan": ("fourier", "plain"),
    "polykan": ("monomial", "plain"),
    "grkan": ("rational", "plain"),
    "svkan": ("shared_spline", "plain"),
    "kagn_bn": ("gram", "bottleneck"),
    "moe_kagn_bn": ("gram", "bottleneck_experts"),
}

NDIM = Option("ndim", int, 2, "spatial dimensions: 1 for signals, 2 images, 3 volumes",
              choices=(1, 2, 3))  # fmt: skip
GROUPS = Option("groups", int, 1, "groups of every convolution but the first", minimum=1)
DROPOUT = Option("dropout", float, 0.0, "of channels, in every layer but the first", 0, 1)
