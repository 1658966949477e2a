"""The cosmic variance of counted fractions, by the formula that the user states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surveyflow.errors import InputError
from surveyflow.files.paths import at_home, problem_of_file
from surveyflow.settings.cosmic_variance import COSMIC_VARIANCE_FILE, CosmicVariance
from surveyflow.stats.cosmic_variance import comoving_volume, of_several_fields
from surveyflow.values.arrays import Float64Array

_REDSHIFT = "redshift"


def read_cosmic_variance(path: str | Path) -> CosmicVariance:
    """Read a file as in `surveyflow.settings.cosmic_variance`.

    Raises
    ------
    InputError
        If the file cannot be read or is not valid; the message reports every problem.
    """
    file = at_home(path).absolute()
    if problem := problem_of_file(file):
        raise InputError(f"cosmic variance: {' '.join(problem)}")
    return COSMIC_VARIANCE_FILE.load(file, str(file))


def check_applies(
    stated: CosmicVariance, column: str, edges: Sequence[float], fields: Sequence[str], redshift: Float64Array, *, weighted: bool
) -> None:
    """Refuse a statement that does not fit the galaxies that are counted.

    Parameters
    ----------
    stated
        What the user states.
    column, edges
        The bins.
    fields
        The fields of the counted galaxies.
    redshift
        (n,) their redshifts.
    weighted
        Whether they are weighted, so that their number says nothing of their density.

    Raises
    ------
    InputError
        If an area, a range of redshifts or densities are missing, too many, or others than those of the galaxies.
    """
    sample, of_redshift = stated.sample, column == _REDSHIFT
    if missing := sorted(set(fields) - set(sample.area_deg2)):
        raise _refusal(f"no area of {', '.join(missing)}", f"Add it to [sample.area_deg2], as `{missing[0]} = 0.05`.")
    if of_redshift != (sample.redshifts is None):
        wanted = "Remove it: the bins are of redshift." if of_redshift else "Add it, such as `redshifts = [0.5, 1.5]`."
        raise _refusal(f"[sample] redshifts is {'stated' if of_redshift else 'missing'} for bins of {column}", wanted)
    if of_redshift and min(edges) < 0:
        raise _refusal(f"a bin begins at redshift {min(edges):g}", "Let the bins begin at 0 or above.")
    if sample.redshifts is not None:
        _check_redshifts(redshift, *sample.redshifts)
    if sample.densities_mpc3 is None and weighted:
        raise _refusal("the galaxies are weighted, so that their number is no density", "State [sample] densities_mpc3.")
    if sample.densities_mpc3 is not None and len(sample.densities_mpc3) != len(edges) - 1:
        found = f"[sample] densities_mpc3 has {len(sample.densities_mpc3)} values for {len(edges) - 1} bins"
        raise _refusal(found, "Give one for each bin.")


def relative_errors(stated: CosmicVariance, edges: Sequence[float], sizes: dict[str, Float64Array]) -> Float64Array:
    """Cosmic variance of the fraction in each bin, relative to it.

    Parameters
    ----------
    stated
        What the user states, checked.
    edges
        Edges of the bins, of redshift unless a range of redshifts is stated.
    sizes
        By field, (n_bins,) number of counted galaxies, or sum of their weights.

    Returns
    -------
    (n_bins,) float64; NaN where there are no galaxies.
    """
    sample, cosmology = stated.sample, stated.cosmology
    areas = np.array([[sample.area_deg2[name]] for name in sizes])
    ends = np.asarray(edges, np.float64)
    low, high = (ends[:-1], ends[1:]) if sample.redshifts is None else sample.redshifts
    volumes = comoving_volume(areas, low, high, cosmology.h0, cosmology.omega_m) * np.ones(len(ends) - 1)
    counted = np.stack(list(sizes.values()))
    density = counted.sum(axis=0) / volumes.sum(axis=0) if sample.densities_mpc3 is None else np.array(sample.densities_mpc3)
    known = np.where(counted.sum(axis=0) > 0, density, np.nan)
    return of_several_fields(stated.formula.law.relative(known, volumes, sample.ratio), counted)


def _check_redshifts(redshift: Float64Array, low: float, high: float) -> None:
    n_outside = np.count_nonzero(~((redshift >= low) & (redshift < high)))
    if n_outside:
        found = f"{n_outside} of the {len(redshift)} counted galaxies have no redshift in [sample] redshifts, [{low:g}, {high:g})"
        raise _refusal(found, f"Select those that do with where (--where): z >= {low:g} and z < {high:g}.")


def _refusal(found: str, remedy: str) -> InputError:
    return InputError(f"cosmic variance: {found}. {remedy}")
