"""SavedModels in the layout of the authors' files, with all that TensorFlow 2.3 leaves in them.

The tree of objects, its names, the order that decides over the checkpoint's keys, the layers' metadata and the optimiser's slots
are those of the files in astroferreira/FERREIRA2022, commit 5dae72f.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from networks import SMALL, random_weights
from surveyflow.tasks.card import Architecture

Metadata = dict[str, dict[str, Any]]
VARIABLES, TRAINABLE_VARIABLES = "variables", "trainable_variables"
_ROLES = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}


class Node(tf.__internal__.tracking.AutoTrackable):
    """A named object with children."""

    def __init__(self, **children: Any) -> None:
        for name, child in children.items():
            setattr(self, name, child)


class Layer(Node):
    """An object that can be called, as a layer that was loaded from a SavedModel can."""

    def __init__(self, run: Callable[[Any], Any], **children: Any) -> None:
        super().__init__(**children)
        self.run = run

    @tf.function
    def __call__(self, x: Any) -> Any:
        return self.run(x)


def write_saved_model(
    folder: Path,
    architecture: Architecture = SMALL,
    weights: Mapping[str, np.ndarray] | None = None,
    keys: str = VARIABLES,
) -> Path:
    """Write a network as Keras 2.4 did.

    Parameters
    ----------
    keys
        Which list of variables comes first, and so gives the variables of the blocks their keys: both kinds are in the release.
    """
    layers = _layers(architecture, weights or random_weights(architecture))
    root = _root(layers, keys)
    size = architecture.input_size
    signature = root.__call__.get_concrete_function(tf.TensorSpec((None, size, size, 1), tf.float32, name="input_1"))
    tf.saved_model.save(root, str(folder), signatures=signature)
    metadata = _metadata(architecture)
    edit_saved_model(folder, lambda found: found.update(metadata))
    return folder


def edited_copy(folder: Path, copy: Path, edit: Callable[[Metadata], Any]) -> Path:
    """A copy of a SavedModel, with other metadata."""
    shutil.copytree(folder, copy)
    edit_saved_model(copy, edit)
    return copy


def edit_saved_model(folder: Path, edit: Callable[[Metadata], Any]) -> None:
    """Change the layers' metadata, which are by path: ``layer-2/conv2d/0``."""
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    paths = _paths(nodes)
    metadata = {path: json.loads(nodes[i].user_object.metadata or "{}") for path, i in paths.items()}
    edit(metadata)
    for path, values in metadata.items():
        if values:
            nodes[paths[path]].user_object.metadata = json.dumps(values)
    file.write_bytes(saved.SerializeToString())


def edit_variables(folder: Path, edit: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Change the values in a SavedModel's checkpoint, which are by key."""
    prefix = str(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    edit(tensors)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(values) for values in tensors.values()],
    )


def _paths(nodes: Any) -> dict[str, int]:
    """Numbers of the root, of the layers and of the layers within blocks, by path."""
    paths, todo = {"": 0}, [("", 0)]
    while todo:
        path, number = todo.pop()
        for child in nodes[number].children:
            if re.fullmatch(r"layer-\d+|conv2d|activation|batch_norm|[01]", child.local_name):
                longer = f"{path}/{child.local_name}".lstrip("/")
                paths[longer] = child.node_id
                todo.append((longer, child.node_id))
    return paths


def _layers(architecture: Architecture, weights: Mapping[str, np.ndarray]) -> list[Node]:
    layers: list[Node] = [Node(), Layer(lambda x: x)]
    for block in range(len(architecture.filters)):
        if block:
            layers.append(Layer(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID")))
        layers.append(_block(block, architecture, weights))
    layers.append(Layer(lambda x: tf.reduce_mean(x, (1, 2))))
    for j in range(len(architecture.dense) + 1):
        layers.append(_dense(j, weights, len(architecture.dense)))
        if j < len(architecture.dense):
            layers += [Layer(lambda x: tf.nn.dropout(x, architecture.dropout)), Layer(tf.nn.relu)]
    return layers


def _block(block: int, architecture: Architecture, weights: Mapping[str, np.ndarray]) -> Layer:
    numbers = 2 * block, 2 * block + 1
    convolutions = [_convolution(i, f"ConvBlock-{block}", weights) for i in numbers]
    activations = [Layer(tf.nn.relu) for _ in numbers]
    normalisations = [_normalisation(i, f"ConvBlock-{block}", weights, architecture.batch_norm_epsilon) for i in numbers]

    def run(x: Any) -> Any:
        for members in zip(convolutions, activations, normalisations, strict=True):
            for member in members:
                x = member(x)
        return x

    return Layer(run, conv2d=convolutions, activation=activations, batch_norm=normalisations)


def _convolution(i: int, block: str, weights: Mapping[str, np.ndarray]) -> Layer:
    name = _numbered("conv2d", i)
    kernel = tf.Variable(weights[f"conv.{i}.kernel"], name=f"{block}/{name}/kernel")
    bias = tf.Variable(weights[f"conv.{i}.bias"], name=f"{block}/{name}/bias")
    return Layer(lambda x: tf.nn.conv2d(x, kernel, 1, "VALID") + bias, kernel=kernel, bias=bias)


def _normalisation(i: int, block: str, weights: Mapping[str, np.ndarray], epsilon: float) -> Layer:
    name = _numbered("batch_normalization", i)
    variables = {
        child: tf.Variable(weights[f"bn.{i}.{role}"], trainable=role in ("gamma", "beta"), name=f"{block}/{name}/{child}")
        for role, child in _ROLES.items()
    }
    gamma, beta, mean, variance = variables.values()
    return Layer(lambda x: (x - mean) * gamma / tf.sqrt(variance + epsilon) + beta, **variables)


def _dense(j: int, weights: Mapping[str, np.ndarray], last: int) -> Layer:
    kernel, bias = (
        tf.Variable(weights[f"dense.{j}.{role}"], name=f"{_numbered('dense', j)}/{role}") for role in ("kernel", "bias")
    )
    activation = tf.sigmoid if j == last else tf.identity
    return Layer(lambda x: activation(x @ kernel + bias), kernel=kernel, bias=bias)


def _root(layers: list[Node], keys: str) -> Layer:
    def run(x: Any) -> Any:
        for layer in layers[1:]:
            x = layer(x)
        return x

    children, with_weights = {}, 0
    for i, layer in enumerate(layers):
        if hasattr(layer, "conv2d") or hasattr(layer, "kernel"):
            children[f"layer_with_weights-{with_weights}"] = layer
            with_weights += 1
        children[f"layer-{i}"] = layer
    variables = _variables(layers)
    lists = {VARIABLES: variables, TRAINABLE_VARIABLES: [variable for variable in variables if variable.trainable]}
    optimiser = _optimiser(lists[TRAINABLE_VARIABLES])
    metrics = [Node(total=tf.Variable(0.0), count=tf.Variable(0.0)), Node(total_cm=tf.Variable(tf.zeros((2, 2))))]
    ordered = {name: lists[name] for name in sorted(lists, key=lambda name: name != keys)}
    return Layer(run, **children, optimizer=optimiser, **ordered, keras_api=Node(metrics=metrics))


def _variables(layers: list[Node]) -> list[tf.Variable]:
    """In Keras's order: per block both convolutions, both gammas and betas, then both means and variances."""
    found = []
    for layer in layers:
        if hasattr(layer, "conv2d"):
            found += [variable for member in layer.conv2d for variable in (member.kernel, member.bias)]
            found += [variable for member in layer.batch_norm for variable in (member.gamma, member.beta)]
            found += [variable for member in layer.batch_norm for variable in (member.moving_mean, member.moving_variance)]
        elif hasattr(layer, "kernel"):
            found += [layer.kernel, layer.bias]
    return found


def _optimiser(variables: list[tf.Variable]) -> Any:
    """An optimiser with one momentum a variable, saved as slots as Keras 2.4's were."""
    optimiser = tf.compat.v1.train.MomentumOptimizer(learning_rate=0.0, momentum=0.9)
    optimiser.apply_gradients([(tf.zeros_like(variable), variable) for variable in variables])
    return optimiser


def _metadata(architecture: Architecture) -> Metadata:
    chain = _chain(architecture)
    layers, before = [], None
    for name, class_name, config in chain:
        links = [[[before, 0, 0, {}]]] if before else []
        layers.append({"class_name": class_name, "name": name, "config": config, "inbound_nodes": links})
        before = name
    metadata: Metadata = {"": {"class_name": "Functional", "name": "FERREIRA2020_class", "config": {"layers": layers}}}
    blocks = -1
    for i, (name, class_name, config) in enumerate(chain):
        metadata[f"layer-{i}"] = {"class_name": class_name, "name": name, "config": config}
        if class_name == "ConvBlock":
            blocks += 1
            metadata |= _block_metadata(f"layer-{i}", architecture, blocks)
    return metadata


def _chain(architecture: Architecture) -> list[tuple[str, str, dict[str, Any]]]:
    size = architecture.input_size
    pool = {"pool_size": _items(2, 2), "padding": "valid", "strides": _items(2, 2), "data_format": "channels_last"}
    chain: list[tuple[str, str, dict[str, Any]]] = [
        ("input_1", "InputLayer", {"batch_input_shape": _items(None, size, size, 1), "dtype": "float32"}),
        ("random_rotation", "RandomRotation", {"factor": _items(0.15, 0.15), "fill_mode": "reflect"}),
    ]
    for block in range(len(architecture.filters)):
        if block:
            chain.append((_numbered("max_pooling2d", block - 1), "MaxPooling2D", pool))
        chain.append((f"ConvBlock-{block}", "ConvBlock", {"layer was saved without config": True}))
    chain.append(("global_average_pooling2d", "GlobalAveragePooling2D", {"data_format": "channels_last"}))
    for j, units in enumerate(architecture.dense):
        chain.append((_numbered("dense", j), "Dense", {"units": units, "activation": "linear", "use_bias": True}))
        chain.append((_numbered("monte_carlo_dropout", j), "MonteCarloDropout", {"rate": architecture.dropout}))
        chain.append((f"activation_{j + 6}", "Activation", {"activation": "relu"}))
    outputs = {"units": architecture.n_outputs, "activation": "sigmoid", "use_bias": True}
    return [*chain, (_numbered("dense", len(architecture.dense)), "Dense", outputs)]


def _block_metadata(path: str, architecture: Architecture, block: int) -> Metadata:
    convolution = {
        "filters": architecture.filters[block],
        "kernel_size": _items(*[architecture.kernel_sizes[block]] * 2),
        "strides": _items(1, 1),
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": _items(1, 1),
        "groups": 1,
        "activation": "linear",
        "use_bias": True,
    }
    normalisation = {"axis": [3], "momentum": 0.99, "epsilon": architecture.batch_norm_epsilon, "center": True, "scale": True}
    members = {
        "conv2d": ("Conv2D", convolution),
        "activation": ("Activation", {"activation": "relu"}),
        "batch_norm": ("BatchNormalization", normalisation),
    }
    return {
        f"{path}/{member}/{n}": {"class_name": class_name, "config": config}
        for member, (class_name, config) in members.items()
        for n in range(2)
    }


def _items(*values: Any) -> dict[str, Any]:
    return {"class_name": "__tuple__", "items": list(values)}


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
