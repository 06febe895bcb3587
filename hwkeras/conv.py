"""Convolution whose gradient is fast on TensorFlow's CPU too.

The gradient of a convolution with regard to its input is a convolution again: of the outputs'
gradient, with the kernel turned by half a circle and its input and output channels exchanged.
TensorFlow's own kernel for it is several times slower than its forward convolution on processors
without matrix or 512-bit units, and in bfloat16 there falls back to plain loops.
"""

from __future__ import annotations

import keras

from hwkeras.device import has_gpu


class FastConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a faster training step on TensorFlow without a GPU.

    Everything but the speed is Keras's, to float noise. Input shape:
    `(batch, height, width, channels)`.
    """

    def convolution_op(self, inputs, kernel):
        """Returns the convolution; its gradient by forward convolutions where that is faster."""
        turnable = (
            self.padding == "same"
            and self.data_format == "channels_last"
            and set(self.strides) == set(self.dilation_rate) == {1}
            and all(side % 2 for side in self.kernel_size)
        )
        if not turnable or keras.backend.backend() != "tensorflow" or has_gpu():
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf  # here and in norm.py only: its own kernels

        @tf.custom_gradient
        def convolve(x, w):
            def gradient(upstream):
                turned = tf.transpose(tf.reverse(w, (0, 1)), (0, 1, 3, 2))
                for_w = tf.raw_ops.Conv2DBackpropFilter(
                    input=x, filter_sizes=w.shape, out_backprop=upstream,
                    strides=(1, 1, 1, 1), padding="SAME",
                )  # fmt: skip
                return tf.nn.conv2d(upstream, turned, 1, "SAME"), for_w

            return tf.nn.conv2d(x, w, 1, "SAME"), gradient

        return convolve(inputs, tf.convert_to_tensor(kernel))
