"""What published networks do otherwise than those of this library: names, there, here, why."""

from __future__ import annotations

from conv_kan.published.difference_rows import Difference

NETWORKS = (
    Difference(
        "VGG networks, by default of create_model",
        "instance norm without affine, average to 7x7, unscaled functions; `fast_vggkan`: 5 "
        "centres in [-1, 1], GELU",
        "the norm of the family (batch; layer where a mixture holds whole convolutions), affine, "
        "average to 1x1, functions of unit scale, the layer's own centres and SiLU; "
        "models.published makes the published ones",
        "defaults suit images of 32x32, on which a 7x7 average repeats every feature 49 times",
    ),
    Difference(
        "VGG networks, KAN heads",
        "mlp_... with GELU throughout (`vggkan fast_vggkan`: base_activation)",
        "the layer's own activations by default of create_model; head_activation=gelu is the "
        "published head, and weights of it load into no other",
        "old runs keep what they were trained with",
    ),
    Difference(
        "options of networks",
        "head_type, expected_feature_shape, norm_layer, base_activation, dim_reduction, l1_decay",
        "head, feature_shape, norm, base, reduction, penalty.l1_decay of a run; models.published "
        "takes the published ones, and create_model names ours for every one of them",
        "values that a config file and a command line can hold, the same words for all networks",
    ),
    Difference(
        "networks of mixtures",
        "forward(x, **ignored) returns (logits, loss); the loss of baselines is always 0",
        "forward(x) returns logits; penalty.load_balance or mixture_penalty(model) is the loss",
        "one interface for all networks",
    ),
    Difference(
        "VGG networks, attention",
        "projections drop channels as convolutions do",
        "projections drop nothing",
        "queries and keys of two dropouts seldom meet; in eval mode there is no difference",
    ),
    Difference(
        "degree_out=1 of the baselines",
        "makes a linear head",
        "in models.published, too; in create_model head=linear does, and degree_out is 2 or more",
        "an option says what it does",
    ),
    Difference(
        "an instance norm at the end, averaged over all positions (`vggkacn vgg_wav_kan`, last "
        "attention)",
        "is trained, and stays at chance",
        "is built and evaluated; its training is refused",
        "every image has the same features",
    ),
    Difference(
        "groups and widths that do not divide, images too small",
        "fail in a layer",
        "are refused with the values that work",
        "found before any work",
    ),
    Difference(
        "`from_pretrained`, `push_to_hub`",
        "of PyTorchModelHubMixin, without the norm in the config",
        "models.from_pretrained opens such a folder, and reads the norm off the keys; "
        "models.push_to_hub writes the norm, too",
        "a folder is enough to make its network",
    ),
    Difference(
        "`wav_version`",
        "three spellings of one function, of other speed",
        "one function, weights of all three load",
        "nothing to choose",
    ),
    Difference(
        "all networks",
        "classes, or functions that make one",
        "functions of models.published that make a network of this library",
        "one class serves all: isinstance needs models.blocks.ConvNet",
    ),
    Difference(
        "`l1_decay l1_penalty`",
        "wrap layers in L1, which decays nothing but what needs no gradient",
        "are taken, and say once what to use instead",
        "see penalty.l1_decay of a run",
    ),
    Difference(
        "head_type that is not known",
        "makes a network without a head",
        "is refused with the nearest; model.reset_classifier(0) takes the head off",
        "a misspelt name must not change the network in silence",
    ),
    Difference(
        "base_activation=nn.PReLU, other norms than batch, instance and layer",
        "are taken",
        "are refused with those that networks have; layers of conv_kan.published take any norm",
        "options of networks are names",
    ),
    Difference(
        "`EightSimpleConvKACN`, dropout",
        "the first layer drops channels of the image",
        "the first layer drops nothing, as in all others",
        "a slip; in eval mode there is no difference",
    ),
    Difference(
        "`ukanet_18` and others of `_18` with U",
        "all blocks but the first of a stage have the defaults of the block, whatever the network "
        "was told",
        "the same in models.published, and with legacy=True; all blocks are as told in "
        "create_model",
        "weights depend on it; a slip otherwise",
    ),
    Difference(
        "`u2kagnet` and other U2-networks",
        "return seven maps",
        "return seven in training and the first of them in eval mode; deep_supervision=False: one",
        "losses read all of them, and who predicts reads one",
    ),
    Difference(
        "U- and U2-networks",
        "take images whose sides the strides and pools divide",
        "take all: maps come back to the size of those beside them; `size_divisor` says which "
        "sides need nothing but doubling",
        "images have any size",
    ),
    Difference(
        "`ukanet_18` and others of `_18`, U2-networks, dropout",
        "the first layer drops channels of the image",
        "the first layer drops nothing, as in all others",
        "a slip; in eval mode there is no difference",
    ),
    Difference(
        "`UKAGNet(unet_depth=1)`",
        "is made, and fails for want of an output layer",
        "is refused: depth must be 2 or more",
        "found before any work",
    ),
    Difference(
        "`u2net`, dropout",
        "drops single values",
        "drops channels, as all networks do",
        "one thing under one name; in eval mode there is no difference",
    ),
    Difference(
        "`kagrdnet_...`, drop_path_rate",
        "does nothing",
        "drops the paths of blocks in training",
        "a slip",
    ),
    Difference(
        "`AutoKAN`",
        "densekalnet169, 201 and densekagnet161, 169, 201 make densekacnet121; spline_order and "
        "grid_size are 1; unknown names and norms, and arguments of others are ignored; the "
        "arguments are emptied; it is no module",
        "every name makes its network, which is returned; the network's spline_order 3 and "
        "grid_size 5; what is unknown is refused with the nearest",
        "slips; spline_order=1, grid_size=1 for weights that were trained with them",
    ),
    Difference(
        "`TinyAutoKAGN`",
        "a VGG without experts has an instance norm, whatever norm_layer says; ResNet makes "
        "nothing; arguments of the other type are ignored; it is no module",
        "norm_layer acts, and the network is returned; the others are refused",
        "slips; norm_layer=nn.InstanceNorm2d for weights that were trained with it",
    ),
)
