"""Tables of labels: what is not one label of one galaxy is refused."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from surveyflow.errors import SourceListError
from surveyflow.inputs.labels import LabelColumns, read_labels


def written(folder, suffix="fits", **columns):
    path = folder / f"labels.{suffix}"
    Table({"label": ["a", "b"], "id": [1, 2], "mag": [20.0, 21.0]} | columns).write(path, overwrite=True)
    return path


COLUMNS = LabelColumns(label="label", id="id", magnitude="mag")


@pytest.mark.parametrize("suffix", ["fits", "parquet"])
@pytest.mark.parametrize("name", ["label", "id", "mag"])
def test_a_cell_of_several_values_is_refused(tmp_path, suffix, name):
    with pytest.raises(SourceListError, match=rf"labels\.{suffix}, column {name}: it holds arrays, expected one value a row"):
        read_labels(written(tmp_path, suffix, **{name: np.arange(4.0).reshape(2, 2)}), COLUMNS)


@pytest.mark.parametrize(("kind", "exact"), [("f4", 2**24 - 1), ("f8", 2**53 - 1)])
def test_ids_that_their_type_cannot_tell_apart_are_refused(tmp_path, kind, exact):
    assert list(read_labels(written(tmp_path, id=np.array([1, exact], kind)), COLUMNS).id) == ["1", str(exact)]
    with pytest.raises(SourceListError, match=r"column id: row 2 .*: is too large to be exact\. Store them as 64-bit integers"):
        read_labels(written(tmp_path, id=np.array([1, exact + 2], kind)), COLUMNS)
