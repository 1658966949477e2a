"""The tree of objects that TensorFlow writes into a SavedModel and its checkpoint, as names and data.

Both files hold a list of nodes whose children have names. Parsing them runs no graph, no pickle and no custom objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from surveyflow.errors import ModelError
from surveyflow.files.json_state import MOST_BYTES, Damaged, read_ordinary_file
from surveyflow.values import remedies

SAVED_MODEL_FILE = "saved_model.pb"
VARIABLES_PREFIX = Path("variables", "variables")
_OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


@dataclass(frozen=True, slots=True)
class ObjectTree:
    """Nodes by path, from the root: ``layer_with_weights-0/conv2d/1/kernel``.

    Parameters
    ----------
    nodes
        The file's nodes; the first is the root.
    file
        The file, for messages.
    """

    nodes: Sequence[Any]
    file: Path

    def names(self, path: str = "") -> list[str]:
        """Names of a node's children."""
        return [child.local_name for child in self.node(path).children]

    def node(self, path: str) -> Any:
        """The node at this path.

        Raises
        ------
        ModelError
            If there is no such node.
        """
        number = 0
        for name in filter(None, path.split("/")):
            children = {child.local_name: child.node_id for child in self.nodes[number].children}
            number = children.get(name, -1)
            if not 0 <= number < len(self.nodes):
                raise ModelError(f"{self.file}: there is no object {path!r} in it. {NOT_OF_THE_FAMILY}")
        return self.nodes[number]

    def settings(self, path: str) -> tuple[str, Mapping[str, Any]]:
        """Class name and configuration of the Keras layer at this path.

        Raises
        ------
        ModelError
            If there is no layer, or its metadata cannot be read.
        """
        try:
            metadata = json.loads(self.node(path).user_object.metadata, object_hook=_tuples)
            return metadata["class_name"], metadata["config"]
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{self.file}: the object {path!r} is not a Keras layer. {NOT_OF_THE_FAMILY}") from error

    def checkpoint_key(self, path: str) -> str:
        """The key of a variable's value in the checkpoint.

        Raises
        ------
        ModelError
            If there is no variable.
        """
        for attribute in self.node(path).attributes:
            if attribute.name == _VALUE:
                return str(attribute.checkpoint_key)
        raise ModelError(f"{self.file}: the object {path!r} is not a variable. {NOT_OF_THE_FAMILY}")


NOT_OF_THE_FAMILY = "Only networks with the layout of Ferreira et al. 2022, saved by TensorFlow 2.3 or 2.4, can be imported."


def tensorflow(module: str = "tensorflow") -> Any:
    """TensorFlow, or one of the modules that come with it.

    Raises
    ------
    ModelError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(
            f"reading the authors' files needs TensorFlow: {error}. Install it: `{remedies.install('cpu')}`."
        ) from error


def saved_objects(folder: Path) -> ObjectTree:
    """The objects that a SavedModel describes.

    Raises
    ------
    ModelError
        If the file is missing or cannot be parsed.
    """
    file = folder / SAVED_MODEL_FILE
    content = read_graph(file)
    message = tensorflow("tensorflow.core.protobuf.saved_model_pb2").SavedModel
    damaged = tensorflow("google.protobuf.message").DecodeError
    try:
        saved = message.FromString(content)
        nodes = saved.meta_graphs[0].object_graph_def.nodes
    except (damaged, IndexError) as error:
        raise ModelError(f"{file}: not a SavedModel, or damaged ({error}). Download it again.") from error
    return _tree(nodes, file)


def read_graph(file: Path) -> bytes:
    """The content of a ``saved_model.pb``.

    Raises
    ------
    ModelError
        If it cannot be read, is not an ordinary file, or is larger than any graph of this family.
    """
    try:
        return read_ordinary_file(file, MOST_BYTES)
    except (Damaged, FileNotFoundError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError) else error
        raise ModelError(f"{file}: cannot be read ({reason}). Name the folder that holds it.") from error


def checkpoint_objects(reader: Any, file: Path) -> ObjectTree:
    """The objects whose values a checkpoint holds.

    Parameters
    ----------
    reader
        Result of ``tf.train.load_checkpoint``.
    file
        The checkpoint, for messages.

    Raises
    ------
    ModelError
        If the checkpoint has no object graph, or its object graph cannot be parsed.
    """
    message = tensorflow("tensorflow.core.protobuf.trackable_object_graph_pb2").TrackableObjectGraph
    damaged = tensorflow("google.protobuf.message").DecodeError
    if not reader.has_tensor(_OBJECT_GRAPH_KEY):
        raise ModelError(f"{file}: it has no object graph. {NOT_OF_THE_FAMILY}")
    try:
        return _tree(message.FromString(reader.get_tensor(_OBJECT_GRAPH_KEY)).nodes, file)
    except damaged as error:
        raise ModelError(f"{file}: its object graph is damaged ({error}). Download it again.") from error


def _tree(nodes: Sequence[Any], file: Path) -> ObjectTree:
    if not nodes:
        raise ModelError(f"{file}: it describes no objects. {NOT_OF_THE_FAMILY}")
    return ObjectTree(nodes, file)


def _tuples(value: dict[str, Any]) -> Any:
    return tuple(value["items"]) if value.get("class_name") in ("__tuple__", "TensorShape") else value
