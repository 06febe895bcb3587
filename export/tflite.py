"""A Keras model as .tflite bytes, and the labels that travel inside the file.

TensorFlow is imported inside `convert` only, so that reading labels stays cheap.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export.names import name_tensors
from export.silence import silenced

if TYPE_CHECKING:
    import keras

SIGNATURE = "serving_default"
OUTPUT = "logits"
LABELS_FILE = "labels.txt"


class ExportError(RuntimeError):
    """A model that cannot be exported as asked; one line that says why and what to do."""


def convert(model: keras.Model, variant: str = "float32") -> bytes:
    """Returns the float32 .tflite that a variant is made from: batch 1, LiteRT builtins only, one
    signature.

    The signature "serving_default" takes the Keras inputs by their names, float32, and gives
    "logits"; a model with several outputs gives them under their Keras names.

    Args:
        model: functional or built sequential, on the TensorFlow backend; untouched. A model with
            a mixed-precision policy is exported in float32.
        variant: one of `export.quantize.VARIANTS`; the same answers, in another form of the graph.

    Raises:
        ExportError: if the backend is not TensorFlow, a weight is not finite, an input has no
            fixed shape or plain name, or a layer needs an operator that LiteRT does not have.
    """
    import keras

    from export.lowering import lower, target_of
    from hwkeras.graph import GraphError, as_functional

    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            "export needs Keras on TensorFlow, found KERAS_BACKEND="
            f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow; a .keras file loads there,"
            " whichever backend saved it"
        )
    try:
        model = as_functional(model)
    except GraphError as error:
        raise ExportError(str(error)) from None
    _check_weights(model)
    _check_inputs(model)
    import tensorflow as tf

    tf.get_logger()  # made here, or it would stay as silent as the block
    with silenced():
        return convert_as_it_is(lower(in_float32(model), target_of(variant)))


def convert_as_it_is(model: keras.Model) -> bytes:
    """Returns the .tflite of a functional float32 model as `convert` does, its graph unchanged.

    Raises:
        ExportError: if a layer needs an operator that LiteRT does not have.
    """
    import keras
    import tensorflow as tf

    names = [tensor.name for tensor in model.inputs]
    outputs = output_names(model)

    @tf.function(autograph=False)
    def serve(**inputs):
        packed = keras.tree.pack_sequence_as(model.input, [inputs[name] for name in names])
        results = keras.tree.flatten(model(packed, training=False))
        return dict(zip(outputs, results, strict=True))

    specs = {
        tensor.name: tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=tensor.name)
        for tensor in model.inputs
    }
    module = tf.Module()
    # A Keras 3 model hides its variables from tf.Module; those it cannot see stay variables.
    module.weights = [v.value for v in model.variables]  # pyright: ignore[reportAttributeAccessIssue]
    try:
        # A SavedModel, because a bare concrete function loses the signature's names.
        with tempfile.TemporaryDirectory() as folder:
            signature = {SIGNATURE: serve.get_concrete_function(**specs)}
            tf.saved_model.save(module, folder, signatures=signature)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            return name_tensors(converter.convert(), _layer_names(model))
    except Exception as error:  # the converter raises bare Exception classes of its own
        raise ExportError(_reason(error)) from None


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model itself, or a float32 copy where a layer computes in another precision.

    Raises:
        ExportError: if a layer cannot be rebuilt from its config.
    """
    import keras

    from hwkeras.graph import all_layers, set_weights

    if all(layer.dtype_policy.compute_dtype == "float32" for layer in all_layers(model)):
        return model
    try:
        copy = type(model).from_config(_with_float32(model.get_config()))
    except (TypeError, ValueError) as error:
        raise ExportError(f"the model cannot be rebuilt in float32: {_line(error)}") from None
    set_weights(copy, [np.asarray(keras.ops.cast(v, "float32")) for v in model.weights])
    return copy


def output_names(model: keras.Model) -> list[str]:
    """Returns what the .tflite calls the outputs, in the order of `keras.tree.flatten`.

    Raises:
        ExportError: if two outputs share a name.
    """
    if isinstance(model.output, Mapping):
        return sorted(model.output)
    if len(model.outputs) == 1:
        return [OUTPUT]
    names = list(model.output_names)
    if len(set(names)) < len(names):
        raise ExportError(f"outputs need different names. Received: {', '.join(names)}")
    return names


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """Returns the .tflite with the labels as an associated file: a zip behind the flatbuffer.

    `unzip -p model.tflite labels.txt` prints them, one a line; runtimes ignore the zip. The same
    labels give the same bytes. Labels that are already there are replaced.

    Raises:
        ExportError: if there are no labels, or one is empty or holds a line break.
    """
    if not labels:
        raise ExportError("expected at least one label")
    for label in labels:
        if not label.strip() or label.splitlines() != [label]:
            raise ExportError(f"labels are one line each and not empty. Received: {label!r}")
    archive = _archive(content)
    if archive:
        content = content[: min(entry.header_offset for entry in archive.infolist())]
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as out:
        entry = zipfile.ZipInfo(LABELS_FILE, date_time=(1980, 1, 1, 0, 0, 0))
        entry.external_attr = 0o644 << 16
        out.writestr(entry, "".join(f"{label}\n" for label in labels))
    return buffer.getvalue()


def read_labels(content: bytes) -> tuple[str, ...]:
    """Returns the labels that a .tflite carries; () if there are none.

    Raises:
        ExportError: if there are labels, but the file ends before they do.
    """
    archive = _archive(content)
    if archive is None and LABELS_FILE.encode() in content:
        raise ExportError("the .tflite is truncated: it ends within its labels")
    if archive is None or LABELS_FILE not in archive.namelist():
        return ()
    return tuple(archive.read(LABELS_FILE).decode("utf-8").splitlines())


def _archive(content: bytes) -> zipfile.ZipFile | None:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        return None


def _check_weights(model: keras.Model) -> None:
    import keras

    from hwkeras.graph import all_layers

    for layer in all_layers(model):
        for weight in layer.weights:
            value = np.asarray(keras.ops.cast(weight, "float32"))
            bad = int(np.sum(~np.isfinite(value)))
            if bad:
                raise ExportError(
                    f"layer {layer.name!r}: {bad:,} values of {weight.path} are NaN or infinite;"
                    " export the last checkpoint from before training diverged"
                )


def _check_inputs(model: keras.Model) -> None:
    for tensor in model.inputs:
        if not tensor.name.isidentifier():
            raise ExportError(
                f"input {tensor.name!r}: expected a name of letters, digits and underscores"
            )
        if None in tensor.shape[1:]:
            raise ExportError(
                f"input {tensor.name!r} has the shape {tuple(tensor.shape)}: expected fixed sides,"
                " only the batch may be free"
            )


def _layer_names(model: keras.Model) -> set[str]:
    """Returns the names of layers, of nested models, and of parts, which weights have in paths."""
    import keras

    names = {part for weight in model.weights for part in weight.path.split("/")[:-1]}
    for layer in model.layers:
        names |= {layer.name} | (_layer_names(layer) if isinstance(layer, keras.Model) else set())
    return names


def _with_float32(config: Any) -> Any:
    """Returns a Keras config with every dtype policy replaced by float32."""
    if isinstance(config, dict):
        if str(config.get("class_name", "")).endswith("DTypePolicy"):
            return "float32"
        return {
            key: "float32" if key == "dtype" and isinstance(value, str) else _with_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_with_float32(item) for item in config)
    return config


def _reason(error: Exception) -> str:
    operators = sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op", str(error))))
    if operators:
        return (
            f"LiteRT has no operator for {', '.join(operators)}: replace the layer that uses it"
            " (SELECT_TF_OPS is not used, phones would need TensorFlow)"
        )
    return f"the TFLite converter failed: {_line(error)}"


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
