"""What options of published networks are called here, for whoever types the published ones."""

_PENALTY = "weights are penalized by the run: penalty.l1_decay, for the layers of every model"

# Published option -> what to type instead.
OPTIONS = {
    "l1_decay": _PENALTY,
    "l1_penalty": _PENALTY,
    "expected_feature_shape": "it is feature_shape here",
    "head_type": "it is head here: linear, vgg, matryoshka, kan, hidden_kan or kantryoshka",
    "norm_layer": "it is norm here, a name: batch for nn.BatchNorm2d, instance for "
    "nn.InstanceNorm2d",
    "base_activation": "it is base here, a name: gelu for nn.GELU",
    "use_first_maxpool": "it is stem_pool here",
    "memory_efficient": "it is grad_checkpointing here",
    "dim_reduction": "it is reduction here",
    "min_internal": "it is min_inner here",
    "wavelet_type": "it is wavelet here",
    "wav_version": "its versions are one function, and weights of each of them load",
    "hidden_layer_dim": "published networks take it and do nothing with it",
}
