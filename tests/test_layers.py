"""kstyle's layers against Keras' own, which they replace: outputs, gradients and saved weights."""

import keras
import numpy as np
import pytest
from keras import ops

from kstyle import backend
from kstyle.nn import layers
from kstyle.nn.layers import Conv2D, Pool2D

RNG = np.random.default_rng(11)


def picture(height=9, width=8, channels=5):
    return RNG.normal(0, 1, (2, height, width, channels)).astype("float32")


def output_and_gradient(layer, x):
    """The layer's output, and the gradient of its product with fixed numbers."""
    weight = ops.convert_to_tensor(np.random.default_rng(3).normal(size=layer(x).shape).astype("float32"))

    def loss(x):
        y = layer(x)
        return ops.sum(y * weight), {"y": y}

    (_, aux), gradient = backend.value_and_grad(loss)(ops.convert_to_tensor(x))
    return ops.convert_to_numpy(aux["y"]), ops.convert_to_numpy(gradient)


def assert_same(ours, theirs, x):
    for mine, reference in zip(output_and_gradient(ours, x), output_and_gradient(theirs, x)):
        assert mine.shape == reference.shape
        assert np.abs(mine - reference).max() <= 1e-5 * np.abs(reference).max()


def give_random_weights(layer, other):
    values = [RNG.normal(0, 0.3, w.shape).astype("float32") for w in layer.weights]
    layer.set_weights(values)
    other.set_weights(values)


@pytest.mark.parametrize("size", [(9, 8), (8, 7)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("strides", "bias", "activation"), [(1, True, "relu"), (2, True, None), (2, False, "tanh")])
def test_conv_is_keras_conv(size, padding, strides, bias, activation):
    """Failure: a network built here computes something else than the published Keras network with the same weights."""
    options = {"strides": strides, "padding": padding, "use_bias": bias, "activation": activation}
    ours, theirs = Conv2D(6, 3, **options), keras.layers.Conv2D(6, 3, data_format="channels_last", **options)
    x = picture(*size)
    ours.build(x.shape), theirs.build(x.shape)
    give_random_weights(ours, theirs)
    assert_same(ours, theirs, x)


@pytest.mark.parametrize("size", [(9, 8), (8, 7)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("kernel", "strides", "bias", "activation"), [(3, 1, True, None), (3, 2, False, None), (5, 2, True, "tanh")]
)
def test_depthwise_conv_is_keras_conv(size, padding, kernel, strides, bias, activation):
    """Failure: MobileNet's and EfficientNet's features are others than they were trained with."""
    options = {"strides": strides, "padding": padding, "use_bias": bias, "activation": activation}
    ours = layers.DepthwiseConv2D(kernel, **options)
    theirs = keras.layers.DepthwiseConv2D(kernel, data_format="channels_last", **options)
    x = picture(*size)
    ours.build(x.shape), theirs.build(x.shape)
    give_random_weights(ours, theirs)
    assert_same(ours, theirs, x)
    assert tuple(ours(keras.Input((*size, 5))).shape[1:]) == ours(x).shape[1:]


@pytest.mark.parametrize(("strides", "kernel"), [(1, 3), (2, 3), (2, 7), (1, 1)])
@pytest.mark.parametrize("size", [(9, 8), (12, 11)])
def test_pad_is_zeros_around(strides, kernel, size):
    """Failure: PyTorch's networks (ResNet, SqueezeNet) see their pictures shifted by a pixel."""
    pad = kernel // 2
    ours, conv = Conv2D(4, kernel, strides=strides, pad=pad), keras.layers.Conv2D(4, kernel, strides=strides)
    x = picture(*size)
    theirs = keras.Sequential([keras.layers.ZeroPadding2D(pad), conv])
    ours.build(x.shape), theirs.build(x.shape)
    give_random_weights(ours, conv)
    assert_same(ours, theirs, x)
    symbolic = ours(keras.Input((*size, 5)))
    assert tuple(symbolic.shape[1:]) == ours(x).shape[1:]


def test_saved_weights_are_interchangeable(tmp_path):
    """Failure: a file saved by a Keras model does not load here, or loads transposed, or the other way round."""

    def network(cls):
        # Of a kernel that is not square and of unequal channels, so that no transposition fits by chance.
        return keras.Sequential([keras.Input((9, 8, 5)), cls(7, (3, 2), name="a"), cls(4, 3, use_bias=False, name="b")])

    x = picture()
    for number, (source, target) in enumerate([(Conv2D, keras.layers.Conv2D), (keras.layers.Conv2D, Conv2D)]):
        source, target = network(source), network(target)
        path = tmp_path / f"{number}.weights.h5"
        source.save_weights(path)
        expected = ops.convert_to_numpy(source(x))
        tolerance = 1e-5 * np.abs(expected).max()
        assert np.abs(ops.convert_to_numpy(target(x)) - expected).max() > tolerance
        target.load_weights(path)
        assert np.abs(ops.convert_to_numpy(target(x)) - expected).max() <= tolerance


def test_conv_survives_its_config():
    """Failure: a saved model comes back with other padding."""
    layer = Conv2D.from_config(Conv2D(4, 3, strides=2, pad=1).get_config())
    assert layer(picture(9, 8)).shape == (2, 5, 4, 4)


@pytest.mark.parametrize("arguments", [{"dilation_rate": 2}, {"data_format": "channels_first"}])
def test_conv_refuses_what_it_has_not(arguments):
    """Failure: an option is accepted and ignored."""
    with pytest.raises(ValueError, match=r"use keras\.layers\.Conv2D"):
        Conv2D(4, 3, **arguments)
    with pytest.raises(ValueError, match=r"use keras\.layers\.DepthwiseConv2D"):
        layers.DepthwiseConv2D(3, **arguments)


def by_hand(x, kernel, bias, strides, pad, groups):
    """A convolution in groups as a sum over the kernel's places, in float64."""
    kh, kw, inputs, filters = kernel.shape
    x = np.pad(x.astype("float64"), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = ((n - k) // strides + 1 for n, k in zip(x.shape[1:3], (kh, kw)))
    y = np.zeros((len(x), height, width, filters)) + bias
    each = filters // groups
    for i in range(kh):
        for j in range(kw):
            seen = x[:, i : i + strides * height : strides, j : j + strides * width : strides]
            for g in range(groups):
                own = slice(g * each, (g + 1) * each)
                y[..., own] += seen[..., g * inputs : (g + 1) * inputs] @ kernel[i, j, :, own]
    return y


@pytest.mark.parametrize(("strides", "pad"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("kind", ["groups", "depthwise"])
def test_conv_in_groups_by_hand(kind, strides, pad):
    """Failure: ResNeXt's or MobileNet's groups see other channels, or torch's padding lies elsewhere."""
    x, size = picture(9, 8, 6), 2 * pad + 1
    if kind == "groups":
        layer, groups = Conv2D(9, size, strides=strides, pad=pad, groups=3), 3
    else:
        layer, groups = layers.DepthwiseConv2D(size, strides=strides, pad=pad), 6
    layer.build(x.shape)
    kernel, bias = (RNG.normal(0, 0.3, w.shape).astype("float32") for w in layer.weights)
    layer.set_weights([kernel, bias])
    expected = by_hand(x, kernel.transpose(0, 1, 3, 2) if kind == "depthwise" else kernel, bias, strides, pad, groups)
    y, gradient = output_and_gradient(layer, x)
    assert y.shape == expected.shape == tuple(layer.compute_output_shape(x.shape))
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()
    # It is linear in the picture: its gradient times the picture is the output, without the bias, times what
    # `output_and_gradient` weighs it by.
    weight = np.random.default_rng(3).normal(size=y.shape).astype("float32")
    assert np.sum(gradient.astype("float64") * x) == pytest.approx(np.sum((expected - bias) * weight), rel=1e-4)
    again = type(layer).from_config(layer.get_config())
    assert (again.pad, again.strides) == (pad, (strides, strides))


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
@pytest.mark.parametrize(("window", "strides"), [(2, 2), (3, 2)])
def test_pooling_is_keras_pooling(size, window, strides):
    """Failure: the features behind every pooling are others than the network was trained with."""
    x = picture(*size)
    for kind, cls in (("max", keras.layers.MaxPooling2D), ("average", keras.layers.AveragePooling2D)):
        assert_same(Pool2D(kind, window, strides), cls(window, strides, data_format="channels_last"), x)


def test_pooling_by_hand():
    """Failure: the factor or the root mean square is not what the settings' names say."""
    x = np.array([[1, 2, 9], [3, 4, 9]], "float32").reshape(1, 2, 3, 1)  # the odd column is dropped
    for kind, expected in (("max", 4), ("average", 2.5), ("l2", np.sqrt(30))):
        for factor in (1.0, 0.78):
            value = ops.convert_to_numpy(Pool2D(kind, factor=factor)(x))
            assert value.shape == (1, 1, 1, 1)
            assert value.item() == pytest.approx(expected * factor, rel=1e-6), kind


def test_l2_pooling_of_zeros_has_a_gradient():
    """Failure: one window of zeros, common after a ReLU, makes the whole picture NaN."""
    _, gradient = output_and_gradient(Pool2D("l2"), np.zeros((1, 4, 4, 2), "float32"))
    assert np.isfinite(gradient).all()


@pytest.mark.skipif(backend.NAME != "torch", reason="memory layout is torch's concern")
def test_no_copies_on_torch():
    """Failure: every convolution copies its activations or its kernel, and a step takes up to half as long again."""
    layer = Conv2D(6, 3, pad=1, activation="relu")
    layer.build((None, None, None, 5))
    values = RNG.normal(0, 1, (3, 3, 5, 6)).astype("float32")
    for _ in range(2):  # assign must keep the layout, also the second time
        layer._kernel.assign(values)
        kernel = layer._kernel.value
        assert tuple(kernel.shape) == (3, 3, 5, 6)
        assert np.array_equal(ops.convert_to_numpy(kernel), values)
        # In memory it is (out, kh, kw, in): what a convolution in channels_last reads.
        assert kernel.permute(3, 0, 1, 2).is_contiguous()
    y = layer(picture())
    assert y.is_contiguous()
    depthwise = layers.DepthwiseConv2D(3, padding="same")
    depthwise.build(y.shape)
    depthwise.kernel.assign(RNG.normal(0, 1, (3, 3, 6, 1)).astype("float32"))
    assert depthwise.kernel.value.permute(2, 3, 0, 1).is_contiguous() and depthwise(y).is_contiguous()
    for kind in ("max", "average"):
        assert Pool2D(kind)(y).is_contiguous()


def normalising(kind, shape, precision, **options):
    """A model of one convolution or dense layer and one normalisation of `kind`, with values that are not the initial
    ones."""
    inputs = keras.Input(shape)
    before = keras.layers.Conv2D(4, 3) if len(shape) == 3 else keras.layers.Dense(6)
    model = keras.Model(inputs, kind(name="norm", dtype=precision, **options)(before(inputs)))
    rng = np.random.default_rng(4)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in model.get_weights()])
    return model


@pytest.mark.parametrize("shape", [(6, 6, 3), (5,)])
@pytest.mark.parametrize(("precision", "near"), [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_batch_normalisation_is_keras(shape, precision, near, tmp_path):
    """Failure: a recipe with batch normalisation trains to something else than in Keras."""
    ours = normalising(layers.BatchNormalization, shape, precision, momentum=0.8)
    keras_own = normalising(keras.layers.BatchNormalization, shape, precision, momentum=0.8)
    # About zero: where the mean is large, Keras' E[x²] − E[x]² loses the digits that are compared here.
    x = ops.convert_to_tensor(np.random.default_rng(5).normal(0, 2, (8, *shape)).astype("float32"))

    def run(model):
        def loss():
            y = ops.cast(model(x, training=True), "float32")
            return ops.mean(y * ops.sin(y)), {"y": y}

        found = backend.compile(backend.gradients(loss, model.trainable_variables, model.non_trainable_variables),
                                model.variables)()  # fmt: skip
        value, aux, grads = found
        after = ops.cast(model(x, training=False), "float32")
        return [ops.convert_to_numpy(t) for t in (value, aux["y"], *grads, after)], model.get_weights()

    (found, statistics), (wanted, wanted_statistics) = run(ours), run(keras_own)
    for a, b in zip(found, wanted):
        assert np.allclose(a, b, rtol=near, atol=near)
    for a, b in zip(statistics, wanted_statistics):  # float32 in either precision
        assert np.allclose(a, b, rtol=1e-5, atol=1e-5)
    keras_own.save_weights(tmp_path / "keras.weights.h5")
    other = normalising(layers.BatchNormalization, shape, precision)
    other.load_weights(tmp_path / "keras.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), wanted_statistics))


def test_moving_variances_of_several_layers():
    """Failure: where all layers' are put right at once, one moves twice, or as another; or one that is called twice in
    a step forgets the first time."""
    inputs = keras.Input((6, 6, 3))
    one, two = (layers.BatchNormalization(momentum, name=name) for name, momentum in (("one", 0.5), ("two", 0.8)))
    model = keras.Model(inputs, two(one(layers.Pool2D("average")(two(inputs)))))
    x = np.random.default_rng(5).normal(1, 2, (8, 6, 6, 3)).astype("float32")

    def loss():
        return ops.mean(ops.square(model(ops.convert_to_tensor(x), training=True))), {}

    step = backend.compile(
        backend.gradients(loss, model.trainable_variables, model.non_trainable_variables), model.variables
    )
    moving = {"one": np.ones(3), "two": np.ones(3)}
    for _ in range(3):
        step()
        y = x.astype("float64")
        for layer in (two, None, one, two):
            if layer is None:
                y = y.reshape(8, 3, 2, 3, 2, 3).mean((2, 4))
                continue
            mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
            moving[layer.name] = layer.momentum * moving[layer.name] + (1 - layer.momentum) * variance
            y = (y - mean) / np.sqrt(variance + layer.epsilon)
        for layer in (one, two):
            assert np.allclose(ops.convert_to_numpy(layer.moving_variance.value), moving[layer.name], rtol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_moving_variance_of_a_sample(count):
    """Failure: statistics are not torch's where torch's were asked for, or one picture of one pixel is NaN."""
    layer = layers.BatchNormalization(momentum=0.9, unbiased_variance=True)
    x = np.random.default_rng(6).normal(2, 3, (count, 1, 1, 5)).astype("float32")
    y = ops.convert_to_numpy(layer(ops.convert_to_tensor(x), training=True))
    assert np.isfinite(y).all()
    rows = x.reshape(count, 5)
    expected = 0.9 + 0.1 * (rows.var(0, ddof=1) if count > 1 else 0)
    assert np.allclose(ops.convert_to_numpy(layer.moving_variance.value), expected, rtol=1e-5)
    assert np.allclose(ops.convert_to_numpy(layer.moving_mean.value), 0.1 * rows.mean(0), rtol=1e-4)


def test_batch_normalisation_refuses_what_it_would_do_wrong():
    """Failure: an axis or a mask is passed over in silence."""
    with pytest.raises(ValueError, match="last axis"):
        layers.BatchNormalization(axis=1)(np.zeros((2, 3, 4, 5), "float32"))
    with pytest.raises(ValueError, match="masks"):
        layers.BatchNormalization()(np.zeros((2, 3), "float32"), mask=np.ones(2, bool))
