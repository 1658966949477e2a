"""What the outputs of a contamination model stand for, as its card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

CONTAMINATION_TRUTHS = ("sky_sigma", "self_sigma")
"""How the truth of contamination was found: masks at 2 sigma of the sky, or of each image itself."""

_INTERVAL_SCALE = "interval_scale_"


@dataclass(frozen=True, slots=True)
class ContaminationScale:
    """How the outputs of a contamination network become percent, and flux in the cutout's unit.

    Parameters
    ----------
    truth
        Which truth it was trained on, one of `CONTAMINATION_TRUTHS`.
    flux_range
        The arcsinh of the flux per pixel, in units of the cutout's sky rms, that an output of 1 stands for; in (0, 50].
    scatter_limit
        Standard deviation, of an output's location, that a scatter output of 1 stands for; in (0, 1].
    interval_scale_coverage, interval_scale_flux_pp
        By what the standard deviations are multiplied, so that intervals hold as many held-out truths as they claim; above 0.
        There is one for each amount, named after its output.
    """

    truth: str
    flux_range: float
    scatter_limit: float = 0.5
    interval_scale_coverage: float = 1.0
    interval_scale_flux_pp: float = 1.0

    def __post_init__(self) -> None:
        if self.truth not in CONTAMINATION_TRUTHS:
            raise ValueError(f"truth must be one of {', '.join(CONTAMINATION_TRUTHS)}, not {self.truth!r}")
        if not 0 < self.flux_range <= 50:
            raise ValueError(f"flux_range must lie in (0, 50], not {self.flux_range}")
        if not 0 < self.scatter_limit <= 1:
            raise ValueError(f"scatter_limit must lie in (0, 1], not {self.scatter_limit}")
        for name in (field.name for field in fields(self) if field.name.startswith(_INTERVAL_SCALE)):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    def range_of(self, amount: str) -> float:
        """By what the target of an amount is divided: what an output of 1 stands for."""
        return {"flux_pp": self.flux_range}.get(amount, 1.0)

    def interval_scale(self, amount: str) -> float:
        """By what the standard deviation of an amount is multiplied."""
        return float(getattr(self, f"{_INTERVAL_SCALE}{amount}"))

    def with_interval_scales(self, by_amount: Mapping[str, float]) -> ContaminationScale:
        """The same, but for what the standard deviations of amounts are multiplied by."""
        changes: dict[str, Any] = {f"{_INTERVAL_SCALE}{amount}": factor for amount, factor in by_amount.items()}
        return replace(self, **changes)
