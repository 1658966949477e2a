"""Merger probability distributions and contamination estimates for every galaxy of a survey."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surveyflow.api import (
        Flag,
        accept_releases,
        at_prevalence,
        browse,
        calibrate_models,
        check_models,
        compare,
        cutouts,
        demo,
        diff_releases,
        doctor,
        evaluate,
        export,
        fetch,
        find_release,
        flags_text,
        fractions,
        import_legacy,
        import_models,
        kubernetes_certificates,
        list_models,
        list_releases,
        load_model,
        new_profile,
        new_schedule,
        open_alternatives,
        open_catalog,
        open_draws,
        plan,
        prune_releases,
        read_alternatives,
        read_catalog,
        read_draws,
        render_kubernetes,
        render_slurm,
        repeat_fractions,
        report,
        rollback_releases,
        run,
        show_models,
        simulate,
        simulate_records,
        status,
        submit_slurm,
        train,
        tune,
        validate,
        verify_releases,
        vetted,
    )

__version__ = "0.1.0"
__all__ = [
    "Flag",
    "__version__",
    "accept_releases",
    "at_prevalence",
    "browse",
    "calibrate_models",
    "check_models",
    "compare",
    "cutouts",
    "demo",
    "diff_releases",
    "doctor",
    "evaluate",
    "export",
    "fetch",
    "find_release",
    "flags_text",
    "fractions",
    "import_legacy",
    "import_models",
    "kubernetes_certificates",
    "list_models",
    "list_releases",
    "load_model",
    "new_profile",
    "new_schedule",
    "open_alternatives",
    "open_catalog",
    "open_draws",
    "plan",
    "prune_releases",
    "read_alternatives",
    "read_catalog",
    "read_draws",
    "render_kubernetes",
    "render_slurm",
    "repeat_fractions",
    "report",
    "rollback_releases",
    "run",
    "show_models",
    "simulate",
    "simulate_records",
    "status",
    "submit_slurm",
    "train",
    "tune",
    "validate",
    "verify_releases",
    "vetted",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("surveyflow.api"), name)
    raise AttributeError(f"module 'surveyflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
