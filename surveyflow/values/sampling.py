"""The settings by which models are sampled and computed."""

from __future__ import annotations

from dataclasses import dataclass

from surveyflow.values.codes import EngineName, Precision


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """The settings of each galaxy's draws.

    Parameters
    ----------
    n_draws
        Number of Monte Carlo dropout draws for each source, 1 to 65535 (a histogram bin counts in 16 bits).
    seed
        Seed of the draws, 0 to 2**32 - 1.
    keep_draws
        Whether every draw of p_pm is written, too.
    """

    n_draws: int
    seed: int
    keep_draws: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.n_draws <= 65_535:
            raise ValueError(f"draws must lie between 1 and 65535, not {self.n_draws}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie between 0 and 2**32 - 1, not {self.seed}")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine and precision that compute the models.

    Parameters
    ----------
    name
        The engine. Engines agree within 1e-5, so the choice does not change a unit's key.
    precision
        Precision of the trunk. It changes the key.
    """

    name: EngineName = EngineName.AUTO
    precision: Precision = Precision.FLOAT32
