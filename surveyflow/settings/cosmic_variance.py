"""The file that states a formula for cosmic variance, and what it is applied to.

::

    version = 1
    source = "López-Sanjuan et al. (2014), A&A 564, A127"

    [formula]  # sigma_v relative to the fraction: 0.48 (n1 / 1e-3)^-0.54 (V / 1e5)^-0.48 (n2 / n1)^-0.37
    at_reference = 0.48
    density_mpc3 = 1e-3
    density_exponent = -0.54
    volume_mpc3 = 1e5
    volume_exponent = -0.48
    ratio_exponent = -0.37

    [sample]
    ratio = 1.0  # n2 / n1

    [sample.area_deg2]
    EGS = 0.057

    [cosmology]  # flat, with a cosmological constant
    h0 = 70.0
    omega_m = 0.3

Nothing of it is assumed: the numbers are the user's to state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter

from surveyflow.errors import InputError
from surveyflow.settings.reader import Line, Range, SettingsFile, SettingsTable, of_version, within
from surveyflow.stats.cosmic_variance import PowerLaw

VERSION = 1
Exponent = Annotated[float, within(-5, 5)]
Density = Annotated[float, within(1e-12, 1e3)]


class FormulaTable(SettingsTable):
    """``[formula]``: a power law, in comoving Mpc.

    Parameters
    ----------
    at_reference
        Its value at the reference density and volume.
    density_mpc3, volume_mpc3
        That density, Mpc^-3, and volume, Mpc^3.
    density_exponent, volume_exponent, ratio_exponent
        Exponents of the density, of the volume of a field, and of n2 / n1.
    """

    at_reference: Annotated[float, within(1e-6, 100)] = Field(examples=[0.48])
    density_mpc3: Density = Field(examples=[1e-3])
    density_exponent: Exponent = Field(examples=[-0.54])
    volume_mpc3: Annotated[float, within(1, 1e12)] = Field(examples=[1e5])
    volume_exponent: Exponent = Field(examples=[-0.48])
    ratio_exponent: Exponent = Field(examples=[-0.37])

    @property
    def law(self) -> PowerLaw:
        """The power law."""
        return PowerLaw(**self.model_dump())


class SampleTable(SettingsTable):
    """``[sample]``: the galaxies to which the formula is applied.

    Parameters
    ----------
    ratio
        Number density of companions in units of that of the galaxies, n2 / n1; 1 if both are the same galaxies.
    area_deg2
        Area of each field's footprint, deg^2.
    densities_mpc3
        Number density n1 of each bin, Mpc^-3; that of the counted galaxies if left out.
    redshifts
        Range of redshifts of the galaxies, if the bins are not of redshift.
    """

    ratio: Annotated[float, within(1e-6, 1e6)] = Field(examples=[1.0])
    area_deg2: Mapping[str, Annotated[float, within(1e-9, 41253)]] = Field(min_length=1, examples=[{"EGS": 0.057}])
    densities_mpc3: tuple[Density, ...] | None = Field(default=None, examples=[[0.004, 0.003]], strict=False)
    redshifts: Annotated[Range, within(0, 20)] | None = Field(default=None, examples=[[0.5, 1.5]])


class CosmologyTable(SettingsTable):
    """``[cosmology]``: a flat universe with a cosmological constant.

    Parameters
    ----------
    h0
        Hubble constant, km/s/Mpc.
    omega_m
        Density of matter in units of the critical one.
    """

    h0: Annotated[float, within(1, 1000)] = Field(examples=[70.0])
    omega_m: Annotated[float, within(0, 1)] = Field(examples=[0.3])


class CosmicVariance(SettingsTable):
    """A formula for cosmic variance, and what it is applied to.

    Parameters
    ----------
    version
        Version of the file format, 1.
    source
        Where the formula comes from.
    formula, sample, cosmology
        The tables.
    """

    version: Annotated[int, of_version(VERSION)] = Field(examples=[VERSION])
    source: Line = Field(min_length=1, examples=["López-Sanjuan et al. (2014), A&A 564, A127"])
    formula: FormulaTable
    sample: SampleTable
    cosmology: CosmologyTable


COSMIC_VARIANCE_FILE = SettingsFile(TypeAdapter(CosmicVariance), InputError, "docs/how-to/merger-fractions.md")
