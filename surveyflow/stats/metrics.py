"""Scores of a classifier: confusion matrix, completeness (recall), purity (precision), accuracy and upsilon."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import Float64Array, Int64Array


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> Int64Array:
    """Count how often each class was classified as each class.

    Parameters
    ----------
    truth, predicted
        (n,) integers: classes, 0 to ``n_classes - 1``.
    n_classes
        Number of classes.

    Returns
    -------
    (n_classes, n_classes) int64; rows are the truth.

    Raises
    ------
    ValueError
        If the shapes differ, or a class lies outside the range.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    rows, columns = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(f"truth and predicted must be 1-D and equally long, not of shapes {rows.shape} and {columns.shape}")
    if rows.size and not 0 <= min(rows.min(), columns.min()) <= max(rows.max(), columns.max()) < n_classes:
        raise ValueError(f"classes must lie between 0 and {n_classes - 1}")
    return np.bincount(rows * n_classes + columns, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


def recall(confusion: ArrayLike) -> Float64Array:
    """Completeness (recall) of each class: the fraction of its members that were classified as such.

    Parameters
    ----------
    confusion
        (n_classes, n_classes) counts; rows are the truth.

    Returns
    -------
    (n_classes,) float64; NaN for a class without members.
    """
    counts = np.asarray(confusion, np.float64)
    members = counts.sum(axis=1)
    recalls: Float64Array = np.divide(np.diagonal(counts), members, out=np.full(len(counts), np.nan), where=members > 0)
    return recalls


def precision(confusion: ArrayLike) -> Float64Array:
    """Purity (precision) of each class: the fraction of those classified as it that belong to it.

    Parameters
    ----------
    confusion
        (n_classes, n_classes) counts; rows are the truth.

    Returns
    -------
    (n_classes,) float64; NaN for a class that was never predicted. It holds for the mixture of classes that was tested.

    Examples
    --------
    >>> precision([[3, 1], [1, 1]]).tolist()
    [0.75, 0.5]
    """
    return recall(np.transpose(np.asarray(confusion, np.float64)))


def accuracy(confusion: ArrayLike) -> float:
    """The fraction that was classified correctly; NaN for an empty matrix. Rows of ``confusion`` are the truth.

    Examples
    --------
    >>> round(accuracy([[1827, 481], [491, 1959]]), 4)
    0.7957
    """
    counts = np.asarray(confusion, np.float64)
    return float(np.trace(counts) / counts.sum()) if counts.any() else float("nan")


def upsilon(confusion: ArrayLike) -> float:
    """The smallest completeness (recall) of any class: Upsilon of Ferreira et al. (2022), whose README calls it a precision.

    Parameters
    ----------
    confusion
        (n_classes, n_classes) counts; rows are the truth.

    Returns
    -------
    A number in [0, 1]. A class without members does not count; NaN if no class has members.

    Examples
    --------
    The published test of the COSMOS classifier; post-mergers are the harder class:

    >>> round(upsilon([[1827, 481], [491, 1959]]), 4)
    0.7916
    """
    recalls = recall(confusion)
    return float(np.nanmin(recalls)) if np.isfinite(recalls).any() else float("nan")
