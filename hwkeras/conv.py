"""Convolution whose gradients are fast on TensorFlow's CPU too.

The gradient of a convolution with regard to its input is a convolution again: of the outputs'
gradient, with the kernel turned by half a circle and its input and output channels exchanged.
TensorFlow's own kernel for it is several times slower than its forward convolution on processors
without matrix or 512-bit units, and in bfloat16 there falls back to plain loops.

The gradient with regard to the kernel sums products of an input and an output gradient over all
places, so the two may change roles, with the same turn and exchange of the result. TensorFlow's
kernel is two to six times faster where the first has fewer channels than the second, which is the
wrong way round for a transform that reads a whole stream and writes the few channels that were
kept (`results/kernel_gradient.json`).

A 1x1 convolution with a stride, the projection of a block, reads some places only. Its kernel's
gradient is taken over these alone: oneDNN, as PyTorch 2.15 has it and TensorFlow 2.21 if told to
use it, writes outside its memory there on processors without 512-bit units, and answers wrongly.
"""

from __future__ import annotations

import keras

from hwkeras.device import has_gpu


class FastConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a faster training step on TensorFlow without a GPU.

    On PyTorch, with right gradients of a 1x1 kernel with strides.

    Everything but the speed is Keras's, to float noise. Input shape:
    `(batch, height, width, channels)`.
    """

    def convolution_op(self, inputs, kernel):
        """Returns the convolution; its gradient by faster kernels where there are some."""
        plain = self.data_format == "channels_last" and self.groups == max(self.dilation_rate) == 1
        pointwise = plain and max(self.kernel_size) == 1 < max(self.strides)
        if pointwise and keras.backend.backend() == "torch":
            down, right = self.strides
            read = inputs[:, ::down, ::right]
            return keras.ops.conv(read, kernel, 1, self.padding, self.data_format)
        if not plain or keras.backend.backend() != "tensorflow" or has_gpu():
            return super().convolution_op(inputs, kernel)
        if pointwise:
            return self._with_gradient(inputs, kernel, pointwise_gradient)
        odd = all(side % 2 for side in self.kernel_size)
        if odd and self.padding == "same" and max(self.strides) == 1:
            return self._with_gradient(inputs, kernel, turned_gradient)
        return super().convolution_op(inputs, kernel)

    def _with_gradient(self, inputs, kernel, gradient):
        import tensorflow as tf  # here and in norm.py only: its own kernels

        strides, padding = self.strides, self.padding.upper()

        @tf.custom_gradient
        def convolve(x, w):
            outputs = tf.nn.conv2d(x, w, strides, padding)
            return outputs, lambda upstream: gradient(x, w, upstream, strides)

        return convolve(inputs, tf.convert_to_tensor(kernel))


def turned_gradient(x, w, upstream, strides):
    """Returns the gradients of x and w where every place counts and what is beyond is zero."""
    import tensorflow as tf

    def turn(kernel):
        return tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))

    for_x = tf.nn.conv2d(upstream, turn(w), strides, "SAME")
    *sides, read, written = w.shape
    if read > written:
        return for_x, turn(kernel_gradient(upstream, x, (*sides, written, read)))
    return for_x, kernel_gradient(x, upstream, w.shape)


def pointwise_gradient(x, w, upstream, strides):
    """Returns the gradients of x and w where a 1x1 convolution has strides."""
    import tensorflow as tf

    down, right = strides
    for_x = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=w, out_backprop=upstream,
        strides=(1, down, right, 1), padding="VALID",
    )  # fmt: skip
    read = tf.nn.avg_pool2d(x, 1, strides, "VALID")  # x[:, ::down, ::right], several times faster
    return for_x, kernel_gradient(read, upstream, w.shape)


def kernel_gradient(first, second, shape):
    """Returns the sums of products, `(*sides, channels of first, channels of second)`.

    The shape is the caller's: traced for a SavedModel, `second` need not know its channels.
    """
    import tensorflow as tf

    return tf.raw_ops.Conv2DBackpropFilter(
        input=first, filter_sizes=shape, out_backprop=second,
        strides=(1, 1, 1, 1), padding="SAME",
    )  # fmt: skip
