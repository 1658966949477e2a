"""Merger probability distributions and contamination estimates for every galaxy of a survey."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surveyflow.api import (
        cutouts,
        evaluate,
        fractions,
        import_legacy,
        load_model,
        open_catalog,
        open_draws,
        plan,
        read_catalog,
        run,
        simulate_records,
        train,
        tune,
        validate,
    )

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "cutouts",
    "evaluate",
    "fractions",
    "import_legacy",
    "load_model",
    "open_catalog",
    "open_draws",
    "plan",
    "read_catalog",
    "run",
    "simulate_records",
    "train",
    "tune",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("surveyflow.api"), name)
    raise AttributeError(f"module 'surveyflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
