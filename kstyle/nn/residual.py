"""Layers of networks that add what a block makes to what it was given: drop path and layer scale, and the tokens and
attention of vision transformers."""

import keras

ops = keras.ops


@keras.saving.register_keras_serializable("kstyle")
class DropPath(keras.layers.Dropout):
    """Stochastic depth (Huang et al. 2016, arXiv 1603.09382): in training a picture loses all of a block at once, and
    keeps what goes round it.

    Input and output shape (B, …). What is kept is divided by 1 - rate, so that its mean stays. It stands before the sum
    of a residual block.

    Args:
        rate: share of the pictures whose numbers become 0, from 0 to 1.

    >>> float(ops.sum(DropPath(0.5)(ops.ones((2, 4, 4, 3)))))  # only in training
    96.0
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        ones = ops.ones_like(inputs[(slice(None), *[slice(1)] * (len(inputs.shape) - 1))])
        return inputs * keras.random.dropout(ones, self.rate, seed=self.seed_generator)

    @classmethod
    def increasing(cls, most, blocks):
        """The rates of so many blocks, from 0 to `most` in equal steps, as the paper's and most recipes have them.

        >>> DropPath.increasing(0.2, 3)
        [0.0, 0.1, 0.2]
        """
        return [most * number / max(blocks - 1, 1) for number in range(blocks)]


@keras.saving.register_keras_serializable("kstyle")
class LayerScale(keras.layers.EinsumDense):
    """A factor of its own for each channel (Touvron et al. 2021, arXiv 2103.17239).

    Input and output shape (B, H, W, C). Same weight as the `keras.layers.EinsumDense` that it is.

    Args:
        channels: C.
        initial: value of all factors at first: with 1e-6 a block begins as next to nothing.
    """

    def __init__(self, channels, initial=1e-6, **kwargs):
        super().__init__(**{
            "equation": "abcd,d->abcd", "output_shape": (None, None, channels),
            "kernel_initializer": keras.initializers.Constant(initial), **kwargs,
        })  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return cls(config["output_shape"][-1], **config)

    def call(self, inputs, training=None):
        return inputs * self.kernel


@keras.saving.register_keras_serializable("kstyle")
class ClassToken(keras.layers.Embedding):
    """Puts one learnt row before the others: (B, N, D) becomes (B, N + 1, D).

    Args:
        width: D.
    """

    def __init__(self, width, **kwargs):
        super().__init__(1, width, **{"embeddings_initializer": "zeros", **kwargs})

    def call(self, inputs):
        row = ops.cast(self.embeddings, self.compute_dtype)
        return ops.concatenate([ops.broadcast_to(row, (ops.shape(inputs)[0], *row.shape)), inputs], axis=1)

    def compute_output_spec(self, inputs):
        batch, rows, width = inputs.shape
        return keras.KerasTensor((batch, rows + 1, width), dtype=self.compute_dtype)

    @staticmethod
    def plainly(layer, inputs):
        """The same with Keras' `layer`, that has this one's weight."""
        first = layer(ops.cast(ops.zeros_like(inputs[:, :1, 0]), "int32"))
        return ops.concatenate([first, inputs], axis=1)

    def get_config(self):
        return _config(super().get_config(), width=self.output_dim)


@keras.saving.register_keras_serializable("kstyle")
class PositionEmbedding(keras.layers.Embedding):
    """Adds a learnt row to each row by its place. Input and output shape (B, N, D).

    Args:
        rows, width: N and D.
    """

    def __init__(self, rows, width, **kwargs):
        initial = keras.initializers.RandomNormal(0, 0.02)
        super().__init__(rows, width, **{"embeddings_initializer": initial, **kwargs})

    def call(self, inputs):
        return inputs + ops.cast(self.embeddings, self.compute_dtype)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    @staticmethod
    def plainly(layer, inputs):
        """The same with Keras' `layer`, that has this one's weight."""
        places = ops.cumsum(ops.ones_like(inputs[:, :, 0], dtype="int32"), axis=1) - 1
        return inputs + layer(places)

    def get_config(self):
        return _config(super().get_config(), rows=self.input_dim, width=self.output_dim)


def _config(config, **arguments):
    """A layer's config with its own arguments in place of those of Keras' `Embedding`."""
    return {key: config[key] for key in ("name", "trainable", "dtype", "embeddings_initializer")} | arguments


@keras.saving.register_keras_serializable("kstyle")
class SelfAttention(keras.layers.Layer):
    """Each row looks at all rows (Vaswani et al. 2017, arXiv 1706.03762): softmax(Q Kᵀ / √d) V of each head.

    Input (B, N, 3 D): the queries of all heads, then their keys and values, each d = D / heads wide. Output (B, N, D).
    It has no weights: the projections are dense layers before and after it.

    Args:
        heads: how many.
    """

    made_of_keras_ops = True  # and without weights: a plain copy of a network (`kstyle.nn.plain`) has the ops

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, inputs):
        rows, width = inputs.shape[1], inputs.shape[2] // 3
        parts = ops.reshape(inputs, (-1, rows, 3, self.heads, width // self.heads))
        seen = ops.dot_product_attention(*(parts[:, :, part] for part in range(3)))
        return ops.reshape(seen, (-1, rows, width))

    def compute_output_spec(self, inputs):
        batch, rows, width = inputs.shape
        return keras.KerasTensor((batch, rows, width // 3), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}
