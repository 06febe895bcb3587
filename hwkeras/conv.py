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
                for_x = tf.nn.conv2d(upstream, turn(w), 1, "SAME")
                if w.shape[2] > w.shape[3]:
                    return for_x, turn(of_kernel(upstream, x))
                return for_x, of_kernel(x, upstream)

            return tf.nn.conv2d(x, w, 1, "SAME"), gradient

        def of_kernel(first, second):
            return tf.raw_ops.Conv2DBackpropFilter(
                input=first,
                filter_sizes=(*self.kernel_size, first.shape[-1], second.shape[-1]),
                out_backprop=second,
                strides=(1, 1, 1, 1),
                padding="SAME",
            )

        def turn(w):
            return tf.transpose(tf.reverse(w, (0, 1)), (0, 1, 3, 2))

        return convolve(inputs, tf.convert_to_tensor(kernel))
