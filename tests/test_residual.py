"""kstyle.nn.residual in closed form, and the plain copies of its layers."""

import keras
import numpy as np
import pytest
from keras import ops

from kstyle import backend
from kstyle.models import classifiers
from kstyle.nn import plain, residual

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(2000, 2, 2, 3), (2000, 3, 2)])
def test_drop_path_takes_whole_pictures(shape):
    """Failure: single numbers or whole batches fall out in place of pictures, or what is kept is not made up for."""
    backend.seed(3)
    layer, x = residual.DropPath(0.25), RNG.normal(1, 1, shape).astype("float32")
    y = ops.convert_to_numpy(layer(x, training=True))
    axes = tuple(range(1, len(shape)))
    gone = (y == 0).all(axis=axes)
    assert np.allclose(y[~gone], x[~gone] / 0.75, rtol=1e-6)
    assert abs(gone.mean() - 0.25) < 5 * (0.25 * 0.75 / len(x)) ** 0.5
    assert not np.array_equal(ops.convert_to_numpy(layer(x, training=True)), y)
    for same in (layer(x), residual.DropPath(0.0)(x, training=True)):
        assert np.array_equal(ops.convert_to_numpy(same), x)
    assert residual.DropPath.increasing(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert residual.DropPath.increasing(0.3, 1) == [0]


def test_attention_by_hand():
    """Failure: heads, queries, keys or values are mixed up, and no published transformer's weights fit."""
    batch, rows, heads, each = 2, 5, 3, 4
    x = RNG.normal(size=(batch, rows, 3 * heads * each)).astype("float32")
    q, k, v = np.moveaxis(x.astype("float64").reshape(batch, rows, 3, heads, each), 2, 0)
    logits = np.einsum("bnhd,bmhd->bhnm", q, k) / each**0.5
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.einsum("bhnm,bmhd->bnhd", weights, v).reshape(batch, rows, -1)
    y = residual.SelfAttention(heads)(x)
    assert np.abs(ops.convert_to_numpy(y) - expected).max() < 1e-5


def test_tokens_and_scale_by_hand():
    """Failure: a row is put last, a place has another's row, or a channel another's factor."""
    x = RNG.normal(size=(2, 4, 3)).astype("float32")
    token, places, scale = residual.ClassToken(3), residual.PositionEmbedding(5, 3), residual.LayerScale(4, 0.5)
    y = token(x)
    assert np.array_equal(ops.convert_to_numpy(places(y)), ops.convert_to_numpy(y + places.embeddings))
    values = [RNG.normal(size=w.shape).astype("float32") for w in (*token.weights, *places.weights)]
    token.set_weights(values[:1]), places.set_weights(values[1:])
    expected = np.concatenate([np.tile(values[0], (2, 1, 1)), x], axis=1) + values[1]
    assert np.allclose(ops.convert_to_numpy(places(token(x))), expected, atol=1e-6)
    pictures = RNG.normal(size=(2, 3, 3, 4)).astype("float32")
    assert np.array_equal(ops.convert_to_numpy(scale(pictures)), pictures * np.float32(0.5))
    factors = np.array([1, 2, 3, 4], "float32")
    scale.set_weights([factors])
    assert np.array_equal(ops.convert_to_numpy(scale(pictures)), pictures * factors)


def test_plain_copies(tmp_path):
    """Failure: a transformer's file opens with kstyle only, or is another network in plain Keras."""
    inputs = x = keras.Input((2, 2, 6))
    x = residual.DropPath(0.5)(residual.LayerScale(6, 0.5)(x))
    x = residual.PositionEmbedding(5, 6)(residual.ClassToken(6)(keras.layers.Reshape((4, 6))(x)))
    model = keras.Model(inputs, residual.SelfAttention(2)(residual.DropPath(0.5)(x)))
    model.set_weights([RNG.normal(size=w.shape) for w in model.get_weights()])
    copy = plain.plain(model)
    assert not plain.has_ours(copy) and any(isinstance(layer, keras.layers.Dropout) for layer in copy.layers)
    copy.save(tmp_path / "copy.keras")
    pictures = RNG.normal(size=(3, 2, 2, 6)).astype("float32")
    for other in (copy, keras.saving.load_model(tmp_path / "copy.keras")):
        assert np.allclose(*(ops.convert_to_numpy(each(pictures)) for each in (model, other)), atol=1e-6)
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert np.array_equal(*(ops.convert_to_numpy(each(pictures)) for each in (model, again)))


@pytest.mark.parametrize(("drop_path", "last"), [(0.2, 0.175), (0.4, 0.35), (0.0, None)])
def test_blocks_of_efficientnet_that_are_passed_by(drop_path, last):
    """Failure: drop path is on at another rate than the recipe says, or cannot be turned off."""
    model = classifiers.build("efficientnet_b0", 3, 32, drop_path=drop_path)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates.pop("top_dropout") == 0.2
    assert rates.get("block6d_drop") == (last and pytest.approx(last))
    assert len(rates) == (9 if last else 0)
    noise = next((layer.noise_shape for layer in model.layers if layer.name == "block6d_drop"), None)
    assert noise is None or tuple(noise) == (None, 1, 1, 1)
