"""Penalties on weights and activations."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from conv_kan import KAN, EfficientKANLinear, KANConv
from conv_kan.layers.regularization import ActivationRecorder, kan_layers, l1_weight_norm


def model():
    return nn.Sequential(
        KANConv(3, 4, 3, base=None), nn.Conv2d(4, 4, 1), KANConv(4, 5, 3), nn.Flatten(), KAN([5, 2])
    )


def test_l1_of_all_kan_weights_and_its_gradient():
    net = model()
    layers = list(kan_layers(net))
    assert len(layers) == 3
    weights = [layers[0].basis_weight]
    weights += [w for layer in layers[1:] for w in (layer.base_weight, layer.basis_weight)]
    penalty = l1_weight_norm(net)
    torch.testing.assert_close(penalty, sum(w.abs().sum() for w in weights))
    penalty.backward()
    for w in weights:
        torch.testing.assert_close(w.grad, w.sign())
    assert net[1].weight.grad is None and layers[1].norm.weight.grad is None
    efficient = EfficientKANLinear(4, 3)
    wanted = efficient.base_weight.abs().sum() + efficient.scaled_weight.abs().sum()
    torch.testing.assert_close(l1_weight_norm(efficient), wanted)
    assert l1_weight_norm(model().bfloat16()).dtype == torch.float32
    with pytest.raises(ValueError, match="no KAN layer"):
        l1_weight_norm(nn.Linear(2, 2))


def test_recorder_sums_over_layers_and_is_differentiable():
    net, x = model().eval(), torch.randn(2, 3, 5, 5)
    outputs = [net[0](x)]
    outputs.append(net[2](net[1](outputs[0])))
    outputs.append(net[4](net[3](outputs[1])))
    with ActivationRecorder(net) as recorder:
        net(x)
        l1, l2 = recorder.pop()
        torch.testing.assert_close(l1, sum(y.abs().mean() for y in outputs))
        torch.testing.assert_close(l2, sum(y.square().mean() for y in outputs))
        (l1 + l2).backward()
        assert net[0].basis_weight.grad is not None
        assert [float(t) for t in recorder.pop()] == [0.0, 0.0]
    net(x)
    assert [float(t) for t in recorder.pop()] == [0.0, 0.0]
    assert not net[0]._forward_hooks


def test_layers_that_run_again_in_backward_are_counted_once():
    net, x = model().eval(), torch.randn(2, 3, 5, 5)
    plain, again = copy.deepcopy(net), net
    grads = []
    for twin, run in ((plain, plain), (again, lambda x: checkpoint(again, x, use_reentrant=False))):
        with ActivationRecorder(twin) as recorder:
            for _ in range(2):  # what the first step left behind must not enter the second
                loss = run(x).sum()
                l1, l2 = recorder.pop()
                (loss + l1 + l2).backward()
            assert [float(t) for t in recorder.pop()] == [0.0, 0.0]
        grads.append([p.grad for p in twin.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*grads, strict=True))


def test_copies_and_pickles_of_a_recorded_model_record_nothing():
    net, x = model(), torch.randn(2, 3, 5, 5)
    recorder = ActivationRecorder(net)
    net(x)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        recorder.pop()
        twin(x)
        assert float(recorder.pop()[0]) == 0.0
    net(x)
    assert recorder.pop()[0].item() > 0.0
    recorder.close()


def test_a_forgotten_recorder_is_collected():
    net = model()
    recorder = ActivationRecorder(net)
    ghost = weakref.ref(recorder)
    net(torch.randn(2, 3, 5, 5))
    del recorder
    gc.collect()
    assert ghost() is None
    net(torch.randn(2, 3, 5, 5))
