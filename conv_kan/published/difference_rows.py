"""What published layers do otherwise than those of this library: names, there, here, why."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """One difference: which published names, what they do, what is done here, and the reason."""

    names: str
    published: str
    here: str
    reason: str


CALLS = (
    Difference(
        "all names",
        "classes",
        "functions that make a layer of this library",
        "one layer serves all families: isinstance needs the class of what a name returns",
    ),
    Difference(
        "all but the classes of networks",
        "some unknown keywords reach the norm and fail there",
        "an unknown keyword is a TypeError with the nearest known one",
        "a misspelt option must not pass unseen",
    ),
    Difference(
        "`KAN KALN FastKAN KACN KAGN BottleNeckKAGN KABN KAJN WavKAN ReLUKAN`",
        "take any keyword and ignore it",
        "the same, and say once per keyword that it does nothing",
        "published networks pass keywords of other families; a misspelt one is still told",
    ),
    Difference(
        "polynomials",
        "degree=0 crashes, or makes a layer that does not see its input (`KACN KABN`)",
        "degree=0 is a ValueError",
        "a constant is no function of the input",
    ),
    Difference(
        "names with `l1_decay`",
        "adds l1_decay sign(w) to the gradient of a layer whose input needs none, the first one, "
        "and does nothing in the others; keys get a part `module`",
        "does nothing, and names penalty.l1_decay once; keys do not change",
        "a penalty that acts on one layer by accident is none; `penalty.l1_decay` acts on all",
    ),
    Difference(
        "`mlp_relukan`",
        "a and b are lost, g = k = 1",
        "a and b are g and k",
        "arguments are for use",
    ),
    Difference(
        "`base_activation`, `act`",
        "called without arguments for any function, also one with parameters, or one that mixes "
        "elements",
        "the same, or a name, a function or a module; modules with parameters and functions that "
        "are not elementwise and repeatable are refused; `KANLinear` and `EfficientKAN` take those "
        "with kernels",
        "functions are computed again in backward, element by element",
    ),
    Difference(
        "`KAT_Group KAT_Group2D`",
        'device="cuda" by default, 2D on CUDA only',
        "torch's default device, any device",
        "models are built where they run",
    ),
    Difference(
        "`FastKANLayer`",
        "forward(x, time_benchmark=True) leaves the norm out",
        "forward(x)",
        "the flag is for measurements of another function",
    ),
    Difference(
        "norms, groups > 1",
        "any norm, one for each group",
        "batch and instance norms; others are refused, and norm_layer=None means none",
        "one batch or instance norm over all groups is the same; others are not",
    ),
    Difference(
        "attention with norm_layer=None",
        "fails in the projections",
        "batch norms in 1 and 3 dimensions, layer norms in 2, in the projections as at the end",
        "what the code means by None at the end",
    ),
    Difference(
        "`kernel_size` of polynomials and bottlenecks",
        "an integer",
        "an integer, or one for each dimension",
        "as torch's convolutions",
    ),
    Difference(
        "linear layers",
        "inputs (N, in); `ChebyKANLayer` flattens others to that",
        "inputs (..., in), and outputs (..., out)",
        "as nn.Linear",
    ),
    Difference(
        "`KAN` of torchkan, `KAN` of efficient-kan",
        "the name KAN in three programs",
        "`KAN` is torch-conv-kan's, whose keywords serve torchkan's; efficient-kan's is "
        "`EfficientKAN`",
        "one name, one function; the state dicts of all three load",
    ),
    Difference(
        "images and weights that do not fit",
        "errors of torch from inside, or silence (channels that num_groups does not divide)",
        "errors that name the layer, what was given and what to pass",
        "found where it is made",
    ),
)

VALUES = (
    Difference(
        "`KALN... KALNLayer KAL_Net KAC_Net`",
        "x is scaled by the minimum and maximum of the batch; NaN for a constant input",
        "tanh(x); legacy=True scales as published, and a constant input gives 0",
        "a prediction must not depend on what else is in the batch",
    ),
    Difference(
        "`KAGNConv...V2`, focal layers, groups > 1",
        "groups read channels of other groups, some read none",
        "groups read their own; legacy=True reads as published",
        "a slip in the order of channels",
    ),
    Difference(
        "`RoPE...`",
        "the first token is taken for a class token, the others are laid on a square grid of two "
        "axes; only some sizes work without mixing",
        "positions are those of the image, on as many axes as it has; legacy=True as published",
        "a feature map has no class token",
    ),
    Difference(
        "`KAT_Group KAT_Group2D`, gelu, geglu, swishglu, erfc_Softplus_2",
        "start from coefficients that miss the function by up to 1.7",
        "start from coefficients fitted to this denominator; legacy=True as published",
        "fitted to another denominator",
    ),
    Difference(
        "`KAT_Group_Torch`, `KAT_Group` on CPUs",
        "the denominator takes x for abs(x), and may vanish",
        "abs(x) everywhere; weights of it load with a warning",
        "one function on every device, that of the published kernels",
    ),
    Difference(
        "`KABN... BernsteinKANLayer`",
        "all functions equal 1, and backward fails behind another layer",
        "Bernstein polynomials; weights of the others load with a warning",
        "the layer did not see its input",
    ),
    Difference(
        "`KACN... ChebyKANLayer`",
        "cos(m acos z): gradients infinite or NaN for saturated inputs, also in half precision",
        "the recurrence, the same polynomials",
        "no singular points",
    ),
    Difference(
        "`ReLUKAN...`",
        "phases share memory: on CPUs neither an optimizer nor load_state_dict can write them",
        "phases of their own",
        "parameters are for training",
    ),
    Difference(
        "dropout before functions",
        "acts on tanh(x), on P_0 too in some (`KAJN`); (1 / (1 - p)) tanh(x) leaves [-1, 1]",
        "acts on x; constant functions are never dropped",
        "the functions are computed again from x; in eval mode there is no difference",
    ),
    Difference(
        "`BottleNeckKAGN...`, noise",
        "NaN for a channel of one value; gradients flow through the standard deviation",
        "no noise there; the standard deviation is a constant",
        "noise is not a function of the input; in eval mode there is no difference",
    ),
    Difference(
        "`MoEBottleNeckKAGNConv...`, noise",
        "acts on the functions of the experts",
        "acts on their input",
        "the functions are not kept",
    ),
    Difference(
        "mixtures, load",
        "compares logits with thresholds of their softmax",
        "compares both on the scale of the logits",
        "the probability that the text of the method means",
    ),
    Difference(
        "mixtures, loss in eval mode",
        "computed from the gates of the batch",
        "0",
        "a penalty belongs to training",
    ),
    Difference(
        "mixtures, gates",
        "start at 0 with noise and without; divided by their sum + 1e-6",
        "start at 0 with noise, else small and random; the softmax of the k largest",
        "gates of 0 without noise choose the same experts for ever; 1e-6 is rounding",
    ),
    Difference(
        "mixtures, experts without samples",
        "have no gradients in that step",
        "take part with weight 0",
        "parameters without gradients stop DistributedDataParallel",
    ),
    Difference(
        "mixtures, dtype",
        "sums in float32, also under autocast",
        "the dtype of the experts",
        "mixed precision goes on behind the layer",
    ),
    Difference(
        "`MoEBottleNeckKAGNConv...`",
        "w_gate and w_noise of its own, without use",
        "not there; exported as 0",
        "parameters without gradients stop DistributedDataParallel",
    ),
    Difference(
        "`BottleNeckSelfReLUKANtention3D`",
        "makes layers for images and fails",
        "makes layers for volumes",
        "a slip",
    ),
    Difference(
        "focal modulation",
        "keeps its gates, so that a copy after a step fails; even windows change the size",
        "keeps nothing; even windows are refused",
        "a slip",
    ),
    Difference(
        "`KANLinear.update_grid`",
        "fits splines that are scaled, and scales them again: the function changes",
        "fits the splines without their scale: the function stays",
        "the purpose of the method",
    ),
    Difference(
        "`KANLinear.regularization_loss`",
        "NaN where weights are 0",
        "finite",
        "p log p is 0 at 0",
    ),
    Difference(
        "rationals under autocast",
        "return float32",
        "return the dtype of the input, computed in float32",
        "mixed precision goes on behind the layer",
    ),
    Difference(
        "half precision",
        "functions in the dtype of x",
        "functions in float32, rounded once",
        "polynomials lose 1e-2 in bfloat16",
    ),
    Difference(
        "polynomials, memory",
        "a cache of 128 entries that is never hit keeps inputs and graphs alive",
        "nothing is kept but the input",
        "a slip; no effect on values",
    ),
    Difference(
        "initial weights",
        "drawn by the published distributions",
        "drawn by the same, in another order",
        "a seed gives other numbers; to compare, load one state dict into both",
    ),
)

STATES = (
    Difference(
        "state_dict()",
        "names of each family, a tensor for each group",
        "names of this library, a tensor for all groups",
        "`load_published` and `export_published` translate, bit for bit",
    ),
    Difference(
        "`rbf.grid`, `arange`, `mean`, `std`, `freqs_t_x`, `freqs_t_y`, `grid_0`",
        "parameters or buffers that nothing learns",
        "no tensors: compared when weights are loaded (grids of radial functions are taken over), "
        "and written again",
        "fewer parameters are counted; nothing to move or to cast",
    ),
    Difference(
        "`module`, `_orig_mod` in keys",
        "of L1, DistributedDataParallel and torch.compile",
        "dropped when weights are loaded; never written",
        "wrappers are not the layer",
    ),
    Difference(
        "weights of a function that keys do not show (base_activation, Legendre scaling)",
        "load into anything of the same shapes",
        "a warning where a layer is another function or a network may be one, a refusal where a "
        "network has activations that no published one has",
        "logits that are silently off are worse than an error",
    ),
)
