"""Options that the networks of several families share."""

from models.options import Option

# The classifiers of models.heads; those beyond the first need KAN layers.
LINEAR_HEADS = ("linear", "vgg", "matryoshka")
KAN_HEADS = ("kan", "hidden_kan", "kantryoshka")

GROUPS = Option("groups", int, 1, "groups of every convolution but the first", minimum=1)
DROPOUT = Option("dropout", float, 0.0, "of channels, in every layer but the first", 0, 1)
