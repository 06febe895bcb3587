"""Training with the gate penalty, and fine-tuning with distillation; both resume exactly."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
from keras import ops

from hwkeras.batches import TrainingBatches
from hwkeras.checkpoint import Checkpoint, fingerprint
from hwkeras.dataset import DataError, Dataset
from hwkeras.device import has_gpu, times_slower
from hwkeras.evaluation import check_fits, require_logits
from hwkeras.graph import highway_blocks, with_gates
from hwkeras.muon import Muon
from hwkeras.regularizers import GatePenalty, share_shut, weighted_mean_gate
from hwkeras.schedules import WarmupDecay
from hwkeras.teacher import Teacher

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
OPTIMIZERS = ("sgd", "muon")
_TOO_SLOW = 2.0  # times as long as in float32
Row = dict[str, Any]


class TrainingError(RuntimeError):
    """Training that cannot start or that diverged; the message says what is kept."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        batch_size: clipped to the training split; what is left after full batches is dropped.
        optimizer: "sgd" with Nesterov momentum, or "muon", which is ahead only in short trainings.
        learning_rate: the schedule's peak.
        schedule: "one-cycle" or "cosine", both with a linear warm-up.
        warmup: share of the steps that rise.
        momentum: of either optimizer.
        weight_decay: decoupled, on kernels only; multiplied by the learning rate.
        label_smoothing: 0 to 1.
        augment: flips and padded crops; None asks the data set.
        precision: Keras's policy while training; weights stay float32.
        penalty: the gate penalty; None for none.
        distill: weight, 0 to 1, of the teacher's softened answers against the labels.
        temperature: that softens them.
        seed: of shuffling and augmentation.
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "one-cycle"
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-3
    label_smoothing: float = 0.1
    augment: bool | None = None
    precision: str = "float32"
    penalty: GatePenalty | None = GatePenalty()
    distill: float = 0.0
    temperature: float = 2.0
    seed: int = 0


FINETUNE = TrainConfig(epochs=10, learning_rate=0.05, warmup=0.1, penalty=None, distill=0.5)


def finetune(
    model: keras.Model,
    dataset: Dataset,
    config: TrainConfig = FINETUNE,
    *,
    teacher: keras.Model | None = None,
    **options,
) -> list[Row]:
    """Trains a slim model on, by default half from the labels and half from the dense model.

    As `fit`; without a teacher the labels are all there is.
    """
    if teacher is None:
        config = dataclasses.replace(config, distill=0.0)
    return fit(model, dataset, config, teacher=teacher, **options)


def fit(
    model: keras.Model,
    dataset: Dataset,
    config: TrainConfig = TrainConfig(),
    *,
    teacher: keras.Model | None = None,
    answers: str | Path | None = None,
    origin: str = "",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[list[Row]], None] | None = None,
    tensorboard: str | Path | None = None,
) -> list[Row]:
    """Trains a classifier in place and returns its history, one row an epoch.

    Args:
        model: one input, one output of logits `(batch, classes)`, with highway blocks.
        dataset: trained on its training split, watched on its validation split.
        config: how.
        teacher: model of the same input and output to distil from; untouched.
        answers: folder in which the teacher's answers are kept, for the next pupil that is trained
            on the same data with the same seed and batch size; they are asked anew without.
        origin: what the weights come from, if not from the seed; a checkpoint of another origin is
            refused.
        checkpoint: folder that holds the last finished epoch: weights, optimizer and history. It
            is of a model whose layers have the same names.
        resume: go on from the checkpoint if there is one; the result is that of an unbroken run.
        on_batch: called with (batches done, batches in all), resumed ones included.
        on_epoch: called with the history so far.
        tensorboard: folder for TensorBoard's log.

    Raises:
        TrainingError: if model, data and config do not fit, the checkpoint is of another run, or
            the loss is no longer a number; then the last good epoch is back in the model if there
            is a checkpoint.
    """
    _check(model, dataset, config, teacher)
    if tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise TrainingError("TensorBoard is not installed: pip install 'hwkeras[tensorboard]'")
    if config.precision != "float32" and not has_gpu():
        slower = times_slower(config.precision)
        if slower > _TOO_SLOW:
            warnings.warn(
                f"this processor takes {slower:.0f} times as long for a convolution in"
                f" {config.precision} as in float32: train in float32",
                stacklevel=2,
            )
    augment = dataset.augment if config.augment is None else config.augment
    config = dataclasses.replace(config, augment=augment)
    taught = None
    if teacher is not None and config.distill:
        lesson = f"{dataset.fingerprint} {config.batch_size} {config.seed} {augment}"
        folder = None if answers is None else Path(answers)
        taught = Teacher(teacher, config.precision, folder, lesson)
    images, labels = dataset.train.images, dataset.train.labels
    batches = TrainingBatches(
        images, labels, config.batch_size, config.seed, augment, teacher=taught
    )
    saved = None
    if checkpoint is not None:
        others = (taught.digest if taught else "", origin)
        run = fingerprint(model, dataset.fingerprint, config, *others)
        saved = Checkpoint(Path(checkpoint), run)
    history: list[Row] = saved.history() if saved and resume else []
    with computing_in(model, config.precision):
        view = training_view(model, config, len(batches))
        if saved and history:
            saved.load(view)
        batches.epoch = len(history)
        callbacks: list[keras.callbacks.Callback] = [
            _Record(history, saved, len(batches), on_batch, on_epoch)
        ]
        if tensorboard is not None:
            callbacks.append(keras.callbacks.TensorBoard(str(tensorboard)))
        if len(history) < config.epochs:
            view.fit(
                batches,
                validation_data=(dataset.validation.images, dataset.validation.labels),
                validation_batch_size=256,
                initial_epoch=len(history),
                epochs=config.epochs,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,  # the batches shuffle themselves
            )
    return history


def _check(model, dataset, config, teacher) -> None:
    try:
        for who, net in (("the model", model), ("the teacher", teacher)):
            if net is not None:
                check_fits(net, dataset, who)
                require_logits(net, who)
    except DataError as error:
        raise TrainingError(str(error)) from None
    _check_numbers(config)
    if config.precision not in PRECISIONS:
        raise TrainingError(f"expected a precision of {PRECISIONS}; found {config.precision!r}")
    if config.optimizer not in OPTIMIZERS:
        raise TrainingError(f"expected an optimizer of {OPTIMIZERS}; found {config.optimizer!r}")
    if config.distill and teacher is None:
        raise TrainingError("distillation needs a teacher")
    if not len(dataset.validation):
        raise TrainingError(f"{dataset.name!r} has no validation images; take a larger share")
    if config.penalty and not any(b.active for b in highway_blocks(model).values()):
        raise TrainingError("the gate penalty needs a block that transforms a channel")


def _check_numbers(config: TrainConfig) -> None:
    expected = {
        "epochs": (config.epochs >= 1, "at least 1"),
        "batch_size": (config.batch_size >= 1, "at least 1"),
        "learning_rate": (config.learning_rate > 0, "more than 0"),
        "warmup": (0 <= config.warmup < 1, "0 to less than 1"),
        "momentum": (0 <= config.momentum <= 1, "0 to 1"),
        "weight_decay": (config.weight_decay >= 0, "at least 0"),
        "label_smoothing": (0 <= config.label_smoothing <= 1, "0 to 1"),
        "distill": (0 <= config.distill <= 1, "0 to 1"),
        "temperature": (config.temperature > 0, "more than 0"),
        "seed": (config.seed >= 0, "at least 0"),
    }
    for name, (fits, range_) in expected.items():
        value = getattr(config, name)
        if not fits or not math.isfinite(value):
            raise TrainingError(f"{name}: expected {range_}; found {value}")


def training_view(model: keras.Model, config: TrainConfig, steps: int) -> keras.Model:
    """Returns a compiled model on the same layers whose `fit` adds the penalty and the teacher.

    For loops of one's own; `fit` does everything around it.

    Args:
        model: as for `fit`. Its labels are class numbers `(batch,)`, or a dict of these as "labels"
            and of a teacher's logits `(batch, classes)` as "teacher".
        config: as for `fit`.
        steps: batches in an epoch.
    """
    return _TrainingView(model, config, steps)


class _TrainingView(keras.Model):
    """The model with its gates as outputs that the loss can see."""

    def __init__(self, model, config: TrainConfig, steps: int):
        watched = with_gates(model)
        super().__init__(watched.input, watched.output, name="training")
        self.config = config
        self.steps = steps * config.epochs
        self.penalty = config.penalty or GatePenalty(strength=0.0)
        self.shares = self.penalty.shares(
            {
                name: (block.block_shape(), len(block.active))
                for name, block in highway_blocks(model).items()
                if block.active
            }
        )
        # Counts in a variable of the model, so that the ramp works and resumes on every backend.
        self.step = self.add_weight(shape=(), initializer="zeros", trainable=False, name="step")
        self.gate_metrics = {
            name: keras.metrics.Mean(name) for name in ("penalty", "mean_gate", "share_shut")
        }
        optimizer = _optimizer(model, config, self.steps)
        if config.precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.compile(
            optimizer=optimizer,
            loss=keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=config.label_smoothing
            ),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            jit_compile="auto" if _worth_compiling() else False,
        )

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        logits = ops.cast(_logits(y_pred), "float32")
        labels = ops.one_hot(ops.cast(_labels(y), "int32"), logits.shape[-1])
        loss = super().compute_loss(x, labels, logits, sample_weight, training)
        if isinstance(y, dict):
            share, temperature = self.config.distill, self.config.temperature
            wanted = ops.softmax(y["teacher"] / temperature)
            given = ops.softmax(logits / temperature)
            divergence = ops.mean(keras.losses.kl_divergence(wanted, given))
            loss = (1 - share) * loss + share * temperature**2 * divergence
        mean_gate = weighted_mean_gate(y_pred["gates"], self.shares)
        penalty = self.penalty.scale(self.step / self.steps) * mean_gate
        # Here and not in `compute_metrics`, where JAX does not see the step.
        self.gate_metrics["penalty"].update_state(penalty)
        self.gate_metrics["mean_gate"].update_state(mean_gate)
        self.gate_metrics["share_shut"].update_state(
            share_shut(y_pred["gates"], self.penalty.threshold)
        )
        if training:
            self.step.assign_add(1.0)
        return loss + penalty if self.config.penalty else loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, _labels(y), _logits(y_pred), sample_weight)


def _optimizer(model: keras.Model, config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """Returns a config's optimizer for a run of so many steps."""
    schedule = WarmupDecay(config.learning_rate, steps, config.warmup, config.schedule)
    decay = config.weight_decay or None
    kernels = [v for v in model.trainable_variables if v.path.endswith("kernel")]
    if config.optimizer == "muon":
        optimizer = Muon(schedule, momentum=config.momentum, weight_decay=decay)
        head = {id(v) for v in model.layers[-1].trainable_variables}
        optimizer.orthogonalize([kernel for kernel in kernels if id(kernel) not in head])
    else:
        optimizer = keras.optimizers.SGD(
            schedule, momentum=config.momentum, nesterov=True, weight_decay=decay
        )
    if decay:
        decayed = {id(kernel) for kernel in kernels}
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in model.trainable_variables if id(v) not in decayed]
        )
    return optimizer


def _logits(y_pred):
    (logits,) = keras.tree.flatten(y_pred["outputs"])  # of a model with a list of one output
    return logits


def _labels(y):
    return y["labels"] if isinstance(y, dict) else y


class _Record(keras.callbacks.Callback):
    """Stops at a loss that is no number; else keeps the history and the checkpoint."""

    def __init__(self, history, saved, steps, on_batch, on_epoch):
        super().__init__()
        self.history, self.saved, self.steps = history, saved, steps
        self.on_batch, self.on_epoch = on_batch, on_epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if self.on_batch:
            done = len(self.history) * self.steps + batch + 1
            self.on_batch(done, self.params["epochs"] * self.steps)

    def on_epoch_end(self, epoch, logs=None):
        row: Row = {"epoch": epoch + 1}
        row |= {name: float(value) for name, value in (logs or {}).items()}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        if not all(math.isfinite(row[name]) for name in ("loss", "val_loss")):
            kept = "there is no checkpoint"
            if self.saved and self.history:
                self.saved.load(self.model)
                kept = f"the checkpoint holds epoch {len(self.history)}, the last good one"
            raise TrainingError(
                f"training diverged in epoch {epoch + 1}: the loss is {row['loss']}; {kept}."
                " Try a lower learning rate."
            )
        self.history.append(row)
        if self.saved:
            self.saved.save(self.model, self.history)
        if self.on_epoch:
            self.on_epoch(self.history)


def _worth_compiling() -> bool:
    """Returns False on TensorFlow's CPU: XLA takes long to compile there and runs slower."""
    return keras.backend.backend() != "tensorflow" or has_gpu()


@contextmanager
def computing_in(model: keras.Model, policy: str) -> Iterator[None]:
    """Computes in another precision for a while; the variables are float32 throughout."""
    layers = list(model._flatten_layers())  # layers inside layers too
    before = [layer.dtype_policy for layer in layers]
    if policy != "float32":
        for layer in layers:
            layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.dtype_policy = own
