"""The poster's net and a training step of it, as one writes them in each framework by hand.

Each module has `stepper(config, dtype)`, which returns `step(images, labels)`: one step of SGD with
Nesterov momentum and weight decay on a uint8 batch `(n, 32, 32, 3)` and its labels `(n,)`, with the
gate penalty, computed in "bfloat16" or "float32" with float32 weights; and `matmul(side, dtype)`,
which returns what multiplies two such matrices of that side. Both return when the work is done.
"""

RATE, MOMENTUM, DECAY, SMOOTHING, PENALTY, EPSILON = 0.1, 0.9, 5e-4, 0.1, 0.01, 1e-5
CLASSES = 10
