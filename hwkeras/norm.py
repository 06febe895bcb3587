"""Batch norm that trains with TensorFlow's fused kernel where Keras has none.

Keras 3 computes a batch norm from elementwise parts. JAX's compiler and PyTorch's kernel fuse them;
TensorFlow without XLA, which is how a CPU trains best, runs each on its own, in float32.
"""

from __future__ import annotations

from typing import Any

import keras


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis, with a faster training step.

    Only a training step of images on TensorFlow differs, and only in speed: the same statistics and
    the same moving averages. Weights, names and everything else are Keras's. Source:
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/FusedBatchNormV3

    Input and output shape: `(batch, ..., channels)`.
    """

    def call(self, inputs, training=None, mask=None):
        # The kernel keeps float32 statistics, also of images in half precision.
        usual = mask is None and len(inputs.shape) == 4 and self.variable_dtype == "float32"
        fused = usual and training and self.trainable
        if not fused or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # here and in conv.py only: its own kernels

        gamma: Any = self.gamma
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel gives the sample's variance, n / (n - 1) of what Keras averages.
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return outputs
