"""The network that a SavedModel describes, and its differences from those that can be imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, zip_longest
from typing import Any

from surveyflow.errors import ModelError
from surveyflow.models.legacy.objects import NOT_OF_THE_FAMILY, ObjectTree
from surveyflow.tasks.card import Architecture

_POOLING = {"pool_size": (2, 2), "strides": (2, 2), "data_format": "channels_last"}
_CONVOLUTION = {
    "strides": (1, 1),
    "padding": "valid",
    "dilation_rate": (1, 1),
    "groups": 1,
    "activation": "linear",
    "use_bias": True,
    "data_format": "channels_last",
}
_NORMALISATION: Mapping[str, Any] = {"axis": [3], "center": True, "scale": True}
_RELU = {"activation": "relu"}
_BLOCK: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "conv2d": ("Conv2D", _CONVOLUTION),
    "activation": ("Activation", _RELU),
    "batch_norm": ("BatchNormalization", _NORMALISATION),
}
_HIDDEN = {"activation": "linear", "use_bias": True}
_OUTPUT = {"activation": "sigmoid", "use_bias": True}


def described_architecture(objects: ObjectTree) -> Architecture:
    """The architecture of a network in the authors' layout.

    Parameters
    ----------
    objects
        Objects that ``saved_model.pb`` describes.

    Raises
    ------
    ModelError
        If it is a different network; every difference is reported.
    """
    layers = [objects.settings(path) for path in layer_paths(objects)]
    differences = list(_differences_in_order(objects, [name for name, _ in layers]))
    if not differences:
        differences = [*_differences_in_settings(objects, layers)]
    if not differences:
        try:
            return _architecture(objects, layers)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            differences = [str(error)]
    raise ModelError(f"{objects.file}: a different network: {'; '.join(differences)}. {NOT_OF_THE_FAMILY}")


def layer_paths(objects: ObjectTree) -> list[str]:
    """Paths of the layers, from input to output."""
    names = set(objects.names())
    return [name for name in (f"layer-{i}" for i in range(len(names))) if name in names]


def block_paths(objects: ObjectTree) -> list[str]:
    """Paths of the convolution blocks, from input to output."""
    return [path for path in layer_paths(objects) if objects.settings(path)[0] == "ConvBlock"]


def dense_paths(objects: ObjectTree) -> list[str]:
    """Paths of the dense layers, from input to output."""
    return [path for path in layer_paths(objects) if objects.settings(path)[0] == "Dense"]


def _differences_in_order(objects: ObjectTree, found: list[str]) -> Iterator[str]:
    blocks, hidden = found.count("ConvBlock"), found.count("MonteCarloDropout")
    between = ["ConvBlock", "MaxPooling2D"] * blocks
    expected = ["InputLayer", "RandomRotation"][: 2 if "RandomRotation" in found else 1]
    expected += [*between[:-1], "GlobalAveragePooling2D", *["Dense", "MonteCarloDropout", "Activation"] * hidden, "Dense"]
    for i, (name, wanted) in enumerate(zip_longest(found, expected, fillvalue="nothing")):
        if name != wanted:
            yield f"layer {i} is {name}, expected {wanted}"
            return
    yield from _differences_in_chain(objects)


def _differences_in_chain(objects: ObjectTree) -> Iterator[str]:
    layers = objects.settings("")[1].get("layers", [])
    for before, layer in pairwise(layers):
        inputs = [link[0] for node in layer["inbound_nodes"] for link in node]
        if inputs != [before["name"]]:
            yield f"{layer['name']} takes {inputs}, expected [{before['name']!r}]"


def _differences_in_settings(objects: ObjectTree, layers: list[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    wanted: dict[str, Mapping[str, Any]] = {"MaxPooling2D": _POOLING, "Activation": _RELU, "Dense": _HIDDEN}
    paths = layer_paths(objects)
    for path, (name, config) in zip(paths, layers, strict=True):
        if name == "ConvBlock":
            yield from _differences_in_block(objects, path)
        else:
            expected = _OUTPUT if path == paths[-1] else wanted.get(name, {})
            yield from _differences(f"{path} ({name})", config, expected)
    yield from _differences_in_rates({config.get("rate") for name, config in layers if name == "MonteCarloDropout"})


def _differences_in_block(objects: ObjectTree, path: str) -> Iterator[str]:
    for member, (wanted, expected) in _BLOCK.items():
        numbers = objects.names(f"{path}/{member}")
        if numbers != ["0", "1"]:
            yield f"{path} (ConvBlock) has {len(numbers)} {member}, expected 2"
        for number in numbers:
            name, config = objects.settings(f"{path}/{member}/{number}")
            place = f"{path}/{member}/{number} ({name})"
            yield from _differences(place, {"class": name, **config}, {"class": wanted, **expected})


def _differences_in_rates(rates: set[Any]) -> Iterator[str]:
    if len(rates) > 1:
        yield f"the dropout layers have rates {sorted(map(str, rates))}, expected one"


def _differences(place: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    return (
        f"{place} has {key} = {found.get(key)!r}, expected {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    )


def _architecture(objects: ObjectTree, layers: list[tuple[str, Mapping[str, Any]]]) -> Architecture:
    convolutions = [objects.settings(f"{path}/conv2d/{i}")[1] for path in block_paths(objects) for i in range(2)]
    normalisations = [objects.settings(f"{path}/batch_norm/{i}")[1] for path in block_paths(objects) for i in range(2)]
    units = [config["units"] for name, config in layers if name == "Dense"]
    architecture = Architecture(
        input_size=_input_size(layers[0][1]["batch_input_shape"]),
        filters=_one_a_block([config["filters"] for config in convolutions], "filters"),
        kernel_sizes=_one_a_block([_side(config["kernel_size"]) for config in convolutions], "kernel sizes"),
        dense=tuple(units[:-1]),
        dropout=_only({config["rate"] for name, config in layers if name == "MonteCarloDropout"}, "dropout rate"),
        n_outputs=units[-1],
        batch_norm_epsilon=_only({config["epsilon"] for config in normalisations}, "epsilon"),
    )
    _check_pooling(architecture, {config["padding"] for name, config in layers if name == "MaxPooling2D"})
    return architecture


def _input_size(shape: tuple[int | None, ...]) -> int:
    _, height, width, channels = shape
    if height != width or height is None or channels != 1:
        raise ValueError(f"its input has shape {shape[1:]}, expected (size, size, 1)")
    return height


def _side(kernel_size: tuple[int, int]) -> int:
    return int(_only(set(kernel_size), "kernel side"))


def _one_a_block(values: list[int], name: str) -> tuple[int, ...]:
    return tuple(_only({first, second}, name) for first, second in zip(values[::2], values[1::2], strict=True))


def _only(values: set[Any], name: str) -> Any:
    if len(values) != 1:
        raise ValueError(f"it has {name} {sorted(values)}, but one value is expected")
    return next(iter(values))


def _check_pooling(architecture: Architecture, paddings: set[str]) -> None:
    """Check the padding: if the maps' sides are even, pooling with padding equals pooling without."""
    pooled = architecture.map_sizes[2:-1:3]
    if paddings - {"valid"} and any(size % 2 for size in pooled):
        raise ValueError(f"its pooling has padding {sorted(paddings)} on maps of sides {pooled}, expected valid")
