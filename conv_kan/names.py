"""The names that arguments take, apart from what they name: reading them loads no torch.

The functions called by the first three stand in conv_kan.ops, under the same names.
"""

ACTIVATIONS = (
    "silu",
    "gelu",
    "relu",
    "tanh",
    "sigmoid",
    "leaky_relu",
    "elu",
    "softplus",
    "identity",
)
SQUASHES = ("tanh", "sigmoid", "none")
WAVELETS = ("mexican_hat", "morlet", "dog", "meyer", "shannon")
NORMS = ("batch", "instance", "group", "layer")
SCALES = ("unit", "none")
BACKENDS = ("auto", "torch", "cpp", "cupy")
