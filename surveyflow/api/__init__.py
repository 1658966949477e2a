"""The functions of the package, one for each verb of the command line, which only calls them and prints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surveyflow.api.browsing import browse, vetted
    from surveyflow.api.catalogs import (
        compare,
        cutouts,
        export,
        fractions,
        open_alternatives,
        open_catalog,
        open_draws,
        read_alternatives,
        read_catalog,
        read_draws,
        repeat_fractions,
        report,
        show,
    )
    from surveyflow.api.fetching import fetch
    from surveyflow.api.kubernetes import kubernetes_certificates, render_kubernetes
    from surveyflow.api.models import (
        calibrate_models,
        check_models,
        import_legacy,
        import_models,
        list_models,
        load_model,
        show_models,
    )
    from surveyflow.api.releases import (
        accept_releases,
        diff_releases,
        list_releases,
        prune_releases,
        rollback_releases,
        verify_releases,
    )
    from surveyflow.api.runs import demo, doctor, find_release, init, plan, run, status, validate
    from surveyflow.api.sites import new_profile, new_schedule
    from surveyflow.api.slurm import render_slurm, submit_slurm
    from surveyflow.api.training import evaluate, simulate, simulate_records, train, tune
    from surveyflow.tasks.calibration import at_prevalence
    from surveyflow.values.codes import Flag, flags_text

__all__ = [
    "Flag",
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
    "init",
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
    "show",
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

_NAMES = {
    "surveyflow.api.browsing": "browse vetted",
    "surveyflow.api.catalogs": (
        "compare cutouts export fractions open_alternatives open_catalog "
        "open_draws read_alternatives read_catalog read_draws repeat_fractions report show"
    ),
    "surveyflow.api.fetching": "fetch",
    "surveyflow.api.kubernetes": "kubernetes_certificates render_kubernetes",
    "surveyflow.api.models": "calibrate_models check_models import_legacy import_models list_models load_model show_models",
    "surveyflow.api.releases": "accept_releases diff_releases list_releases prune_releases rollback_releases verify_releases",
    "surveyflow.api.runs": "demo doctor find_release init plan run status validate",
    "surveyflow.api.sites": "new_profile new_schedule",
    "surveyflow.api.slurm": "render_slurm submit_slurm",
    "surveyflow.api.training": "evaluate simulate simulate_records train tune",
    "surveyflow.tasks.calibration": "at_prevalence",
    "surveyflow.values.codes": "Flag flags_text",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a function with its first use: a run with nothing to do would otherwise import for longer than it works."""
    if name not in _HOME:
        raise AttributeError(f"module 'surveyflow.api' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
