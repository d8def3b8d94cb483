"""Layers of networks that make pictures, and the network that they make, against NumPy."""

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.nn.image_layers import Doubled, InstanceNormalization, MirroredConv2D
from kstyle.style.networks.network import LEAST_SIDE, style_network

ops = keras.ops
rng = np.random.default_rng(0)


def test_mirrored_convolution():
    """Failure: the edges are continued by zeros or by the edge pixel itself, or a stride begins elsewhere."""
    x, layer = rng.normal(size=(2, 7, 6, 3)).astype("float32"), MirroredConv2D(4, 5, strides=2)
    got = ops.convert_to_numpy(layer(ops.convert_to_tensor(x)))
    kernel, bias = (np.asarray(w, "float64") for w in layer.get_weights())
    around = np.pad(x.astype("float64"), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(around, (5, 5), axis=(1, 2))[:, ::2, ::2]
    wanted = np.einsum("byxchw,hwcf->byxf", windows, kernel) + bias
    assert got.shape == wanted.shape == layer.compute_output_shape((2, 7, 6, 3))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_instance_normalization():
    """Failure: statistics of the whole batch, or a condition that picks the wrong rows."""
    x = rng.normal(2, 3, (3, 5, 4, 6)).astype("float32")
    layer = InstanceNormalization(styles=2)
    condition = np.array([0.25, 0.75, -2], "float32")
    layer.build([x.shape, condition.shape])
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.gamma.value), np.repeat([[1.0], [1], [0]], 6, axis=1))
    gamma, beta = (rng.normal(size=(3, 6)).astype("float32") for _ in range(2))
    layer.set_weights([gamma, beta])
    got = ops.convert_to_numpy(layer([ops.convert_to_tensor(x), ops.convert_to_tensor(condition)]))
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    wanted = (x - mean) / np.sqrt(variance + 1e-5) * (condition @ gamma) + condition @ beta
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_doubled():
    """Failure: pixels are mixed, or a picture of odd sides comes back with a row too many."""
    x = np.arange(12, dtype="float32").reshape(1, 2, 3, 2)
    got = ops.convert_to_numpy(Doubled()([ops.convert_to_tensor(x), ops.zeros((1, 3, 5, 7))]))
    np.testing.assert_array_equal(got, x.repeat(2, 1).repeat(2, 2)[:, :3, :5])


@pytest.mark.parametrize("shape", [(LEAST_SIDE, LEAST_SIDE), (31, 18)])
def test_network_sees_no_light(shape):
    """Failure: a darker photograph of less contrast is painted otherwise, or a painting has another size."""
    photograph = rng.random((2, *shape, 3)).astype("float32")
    network, told = style_network(0.25, styles=2), ops.convert_to_tensor([0.5, 0.5])
    both = photograph, photograph * 0.6 + 0.1
    painted, darker = (backend.as_numpy(network([ops.convert_to_tensor(x), told])) for x in both)
    assert painted.shape == photograph.shape and 0 < painted.min() < painted.max() < 1
    np.testing.assert_allclose(darker, painted, atol=5e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_flat_picture_is_normalised(dtype):
    """Failure: where numbers are all alike, sums of many of them are off, and a sky gets another colour."""
    x = np.full((1, 200, 300, 8), 0.3)
    x[:, :50, :60] = 0.29
    x = ops.cast(ops.convert_to_tensor(x.astype("float32")), dtype)
    layer = InstanceNormalization(dtype="float32" if dtype == "float32" else "mixed_bfloat16")
    look = backend.compile(lambda x: layer([x, ops.ones(1)]), layer.variables)
    layer.build([x.shape, (1,)])
    exact = backend.as_numpy(x).astype("float64")
    wanted = (exact - exact.mean((1, 2))) / np.sqrt(exact.var((1, 2)) + 1e-5)
    np.testing.assert_allclose(backend.as_numpy(look(x)), wanted, rtol=1e-2 if dtype == "bfloat16" else 1e-3)
