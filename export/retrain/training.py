"""Training on for one variant: short, its rate falling, taught by the model it starts from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from export.retrain.network import Network
from export.retrain.schemes import Scheme, shipped
from hwkeras.batches import TrainingBatches

TEMPERATURE = 2.0  # softens the teacher's answers
SCORED = (0.6, 0.7, 0.8, 0.9, 1.0)  # of the steps: after them, validation may choose the weights
RANGE_STEPS = 30  # batches that ranges settle on before anything trains


@dataclasses.dataclass(frozen=True)
class Data:
    """Images and labels of the two splits that training may see."""

    images: np.ndarray
    labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray


def train_on(
    stock: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    data: Data,
    settings: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Returns the weights that did best on the validation split, as they ship, and how well.

    Args:
        stock: what `export.stock.StockModel.to_json` wrote, read.
        weights: what its `weights` gave.
        data: to train and to choose on.
        settings: of `export.tfmot.Retraining`, with "variant" and "augment".
        progress: called with (steps done, steps in all).

    Raises:
        FloatingPointError: if the loss is no longer a number.
    """
    tf_keras.utils.set_random_seed(settings["seed"])
    teacher = Network(stock, weights).model
    scheme = Scheme(settings["variant"], stock["nodes"], settings["clusters"])
    student = Network(stock, weights, scheme.wrap)
    model, steps = student.model, settings["steps"]
    step = _step(model, teacher, settings["learning_rate"], steps)
    batches = TrainingBatches(
        data.images, data.labels, settings["batch_size"], settings["seed"], settings["augment"]
    )
    if scheme.rounds:
        for index in range(RANGE_STEPS):
            images, _ = batches[index % len(batches)]
            model(tf.cast(images, tf.float32), training=True)
    pruning = tfmot.sparsity.keras.UpdatePruningStep()
    pruning.set_model(model)
    pruning.on_train_begin()
    score_at = {math.ceil(share * steps) for share in SCORED}
    best, chosen, outcome = (-1.0, 0.0), {}, {}
    for done in range(steps):
        batches.epoch, index = divmod(done, len(batches))
        images, labels = batches[index]
        if not np.isfinite(step(images, labels)):
            raise FloatingPointError(f"the loss is no longer a number after {done} steps")
        if done + 1 in score_at:
            score = _score(model, data.validation_images, data.validation_labels)
            if score > best:
                best, chosen = score, student.weights(shipped)
                outcome = {"validation_accuracy": score[0], "steps": done + 1}
        progress(done + 1, steps)
    return chosen, outcome


def _step(model, teacher, learning_rate: float, steps: int) -> Callable[..., Any]:
    """Returns a function that trains on one batch and returns the loss: half from the labels, half
    from the teacher's softened answers."""
    schedule = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    optimizer = tf_keras.optimizers.Adam(schedule)
    divergence = tf_keras.losses.KLDivergence()

    @tf.function(reduce_retracing=True)
    def step(images, labels):
        images = tf.cast(images, tf.float32)
        taught = tf.nn.softmax(teacher(images, training=False) / TEMPERATURE)
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            soft = divergence(taught, tf.nn.softmax(logits / TEMPERATURE))
            loss = 0.5 * tf.reduce_mean(hard) + 0.5 * TEMPERATURE**2 * soft
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def _score(model, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Returns accuracy and, where that is equal, what tells the better one: minus the loss."""
    logits = model.predict(images.astype(np.float32), batch_size=256, verbose=0)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return float(np.mean(logits.argmax(-1) == labels)), -float(tf.reduce_mean(loss))
