"""The tables of a workflow file, with their keys, defaults and checks.

Every value is checked by itself here, and every path is looked up; ``workflow_problems`` compares the tables.
"""

from __future__ import annotations

import keyword
import math
import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SerializationInfo,
    ValidationInfo,
    create_model,
)
from pydantic import model_validator as check_model

from surveyflow.files.addresses import Address
from surveyflow.files.paths import Place, absent, nearest_folder
from surveyflow.settings.findings import did_you_mean, shown
from surveyflow.settings.reader import (
    AnyPath,
    FileContext,
    FilePath,
    FilePlace,
    Line,
    Pair,
    SettingsTable,
    TablePlace,
    of_version,
    refuse,
    within,
)
from surveyflow.values import remedies
from surveyflow.values.codes import Event, Flag, WeightKind
from surveyflow.values.jobs import SamplingSettings
from surveyflow.values.sources import SOURCE_COLUMNS

WORKFLOW_VERSION = 1
DEFAULT_DRAWS = 1000
DEFAULT_CORE_SIZE = 4096
SMALLEST_CORE_SIZE = 256
SET_ASIDE = (".bad", ".gone", ".old", ".tmp", "~")
"""Endings of names by which people set files aside; such a name is never taken for a release, in whatever case it is written."""
DEFAULT_MIN_VALID_FRACTION = 0.5
DEFAULT_LEAST_SHARE = 0.05
DEFAULT_DUPLICATE_ARCSEC = 0.3
DEFAULT_QUIET_S = 60.0
DEFAULT_WATCH_S = 1.0
DEFAULT_NOTIFY_TIMEOUT_S = 60.0
DEFAULT_EVENTS = (Event.PUBLISHED, Event.HELD, Event.FAILED, Event.SKIPPED)
DEFAULT_ARRIVAL_S = 3600.0
DEFAULT_MAX_LOST_FRACTION = 0.05
DEFAULT_MAX_STATUS_FRACTION = 0.1
DEFAULT_MAX_FLAG_FRACTION = 0.1
DEFAULT_MOVED_BY = 0.1
DEFAULT_MAX_MOVED_FRACTION = 0.2
DEFAULT_MAX_DISTANCE = 0.1
DEFAULT_SIGNIFICANCE = 0.001
MOST_KEPT_COLUMNS = 200
MOST_JOINED_TABLES = 20
TAKEN_NAMES = ("sources", "models", "settled", "alternatives")
"""Names that a field or instrument cannot have: those of other keys of a field, and of parts of a catalog."""


def _check_store(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    if info.context and not os.path.lexists(path):
        what, remedy = absent(path)
        raise refuse(what, f"{remedy} To make a store: `{remedies.import_models('FOLDER', path, 'STRETCH')}`.")
    if info.context and not path.is_dir():
        raise refuse(f"{path} is a file, expected the folder of a model store.", "Name the folder that holds the models.")
    return path


def _to_members(value: Any) -> Any:
    names = tuple(value) if isinstance(value, (list, tuple)) else ()
    if value == "all" or (names and all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)):
        return value if value == "all" else names
    remedy = 'Write members = "all", or such as members = ["seed-1", "seed-2"].'
    raise refuse(f'found {shown(value)}, expected "all" or a list of different names of members.', remedy)


def _check_output(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    if not info.context:
        return path
    present = path if os.path.lexists(path) else nearest_folder(path)
    if not present.is_dir():
        raise refuse(f"{present} is a file, so no folder can be made of {path}.", "Name another folder.")
    if not os.access(present, os.W_OK | os.X_OK):
        raise refuse(f"{present} may not be written to.", "Name a folder of your own, or ask its owner for permission.")
    return path


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= low < high):
        raise refuse(f"found [{low}, {high}], expected finite 0 <= low < high.", "Write such as [0.5, 1.5].")
    return value


def _check_release(name: str) -> str:
    if problem := problem_of_release(name):
        raise refuse(*problem)
    return name


def problem_of_release(name: str) -> tuple[str, str] | None:
    """What prevents a name from being that of a release, with the remedy; None if nothing does."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
        return (
            f"found {shown(name)}, which cannot name a folder: expected up to 100 letters, digits, '.', '_', '+' and '-', "
            "beginning with a letter or digit.",
            "Name it such as v1.0.",
        )
    if name == "latest" or re.search(r"-r\d+$", name):
        return f"found {shown(name)}, a name that surveyflow gives to revisions.", "Name it such as v1.0."
    return None


def _check_part_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}", name) or name in TAKEN_NAMES:
        raise refuse(
            f"the name {shown(name)} cannot be part of a path: expected up to 64 letters, digits, '_', '+' and '-', "
            f"beginning with a letter or digit, and not {', '.join(map(repr, TAKEN_NAMES))}.",
            "Rename it, such as GOODS_S.",
        )
    return name


def _check_command(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise refuse(f"{shown(command)} is not a command line: {error}.", "Close every quote.") from error
    if not words:
        raise refuse(f"found {shown(command)}, expected a command line.", "Name a program, or leave the key out.")
    return command


def _to_patterns(value: Any) -> Any:
    patterns = tuple(value) if isinstance(value, (list, tuple)) else ()
    wrong = [each for each in patterns if not isinstance(each, str) or not each.strip() or not each.isprintable() or "/" in each]
    if wrong or not isinstance(value, (list, tuple)):
        found = shown(wrong[0] if wrong else value)
        remedy = 'Write such as ["w*"]; a pattern is compared with the name of the release, which is not a path.'
        raise refuse(f"found {found}, expected a list of names of releases, in which *, ? and [...] are wildcards.", remedy)
    return patterns


def _to_events(value: Any) -> Any:
    words = list(value) if isinstance(value, (list, tuple)) else [value]
    if unknown := [each for each in words if each not in list(Event)]:
        remedy = did_you_mean(str(unknown[0]), Event, 'Write such as ["failed", "held"].')
        raise refuse(f"found {shown(unknown[0])}, expected a list of events: {', '.join(Event)}.", remedy)
    if not isinstance(value, (list, tuple)) or not words:
        raise refuse(f"found {shown(value)}, expected a list of one or more events.", 'Write such as ["failed", "held"].')
    return tuple(map(Event, words))


def _not_nothing(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise refuse("the list is empty, so no release would be taken.", 'Leave the key out, or write ["*"].')
    return patterns


def _to_weight_kind(value: Any) -> Any:
    if value in list(WeightKind):
        return WeightKind(value)
    remedy = did_you_mean(str(value), WeightKind, 'Write such as "rms".')
    raise refuse(f"found {shown(value)}, expected one of {', '.join(WeightKind)}.", remedy)


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _split_kept(entry: str) -> tuple[str, str]:
    """The list's name and the catalog's name of a kept column."""
    of_list, separator, name = entry.rpartition(" as ")
    return (of_list.strip(), name.strip()) if separator else (entry, entry)


def _by_kept_name(entries: tuple[str, ...]) -> dict[str, str]:
    """The list's names of kept columns, by their names in the catalog."""
    return {name: of_list for of_list, name in map(_split_kept, entries)}


def _check_kept(entry: str) -> str:
    name = _split_kept(entry)[1]
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) or keyword.iskeyword(name) or name in {*Flag.__members__, "z"}:
        raise refuse(
            f"{shown(name)} cannot be the name of a column in a selection: expected up to 64 letters, digits and '_', not "
            "beginning with a digit, and neither z, a word of Python, nor a flag.",
            f"Give the catalog another name: {shown(f'{entry} as my_column')}.",
        )
    return entry


def _check_kept_names(entries: tuple[str, ...]) -> None:
    """Refuse names of kept columns that are the same, or differ only in upper and lower case."""
    names = [_split_kept(entry)[1] for entry in entries]
    lower = [name.lower() for name in names]
    if repeated := sorted({name for name in names if lower.count(name.lower()) > 1}):
        what = f"the names {', '.join(repeated)} of kept columns are the same, or differ only in upper and lower case."
        raise refuse(what, 'Rename all but one: "NAME as OTHER_NAME".')


def _not_empty(table: dict[str, Any]) -> dict[str, Any]:
    if not table:
        raise refuse("the table is empty.", "Add at least one entry.")
    return table


def _to_paths(value: Any) -> Any:
    if isinstance(value, (str, Path, Address)):
        return (value,)
    if isinstance(value, (list, tuple)) and value:
        return tuple(value)
    raise refuse(f"found {shown(value)}, expected a path, or a list of paths.", "Write paths as text in quotes.")


def _one_or_all(places: tuple[Place, ...], info: SerializationInfo) -> Any:
    written = [str(place) if info.mode == "json" else place for place in places]
    return written[0] if len(written) == 1 else written


_FilePaths = Annotated[tuple[FilePlace, ...], BeforeValidator(_to_paths), PlainSerializer(_one_or_all)]
_TablePaths = Annotated[tuple[TablePlace, ...], BeforeValidator(_to_paths), PlainSerializer(_one_or_all)]
_KeptName = Annotated[Line, AfterValidator(_check_kept)]
_Kept = Annotated[tuple[_KeptName, ...], BeforeValidator(_to_tuple)]
_KEPT = Field(default=(), max_length=MOST_KEPT_COLUMNS, examples=[["mag_f160w", "flags as list_flags"]])
_PartName = Annotated[str, AfterValidator(_check_part_name)]
_Redshifts = Annotated[Pair, AfterValidator(_check_range)]
_Patterns = Annotated[tuple[str, ...], BeforeValidator(_to_patterns)]


_SomeTable = TypeVar("_SomeTable", bound=SettingsTable)


class Survey(SettingsTable):
    """``[survey]``: the name of the catalog.

    Parameters
    ----------
    name
        Name of the survey, shown in the catalog and the report.
    release
        Name of the release, which is also a folder's name; its revisions are published as ``<release>-r1``, ``<release>-r2``, ...
    """

    name: Line = Field(examples=["candels"])
    release: Annotated[str, AfterValidator(_check_release)] = Field(examples=["v1.0"])


class Output(SettingsTable):
    """``[output]``: where results are kept.

    Parameters
    ----------
    root
        Folder; the run makes it if it does not exist.
    keep_runs_days
        How long the folders of runs, with logs and progress, are kept, days. Those of runs whose revisions still exist are kept
        longer, and so is the newest.
    """

    root: Annotated[AnyPath, AfterValidator(_check_output)] = Field(examples=["catalog"])
    keep_runs_days: Annotated[int, Field(ge=1)] = 365


class Models(SettingsTable):
    """``[models]``: the networks.

    Parameters
    ----------
    store
        Folder of models, ``STORE/<task>/<instrument>/<FIELD>/``.
    members
        ``"all"`` (the default), or the names of the members of which every jury consists. A member that is named and absent is an
        error. Models that are alone are used as they are.
    """

    store: Annotated[AnyPath, AfterValidator(_check_store)] = Field(examples=["models"])
    members: Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_to_members)] = "all"

    @property
    def named_members(self) -> tuple[str, ...] | None:
        """The members that are named; None if all are used."""
        return None if isinstance(self.members, str) else self.members


class Sampling(SettingsTable):
    """``[sampling]``: how each galaxy's distribution is drawn.

    Parameters
    ----------
    draws
        Number of Monte Carlo dropout draws for each source, 1 to 65535. 1000 by default.
    seed
        0 to 2**32 - 1. It has no default: the seed decides every number of the catalog, so users choose it themselves, and it is
        recorded in the file from which others repeat the run.
    keep_draws
        Whether every draw of p_pm is written, too. False by default.
    """

    draws: Annotated[int, within(1, 65_535)] = Field(default=DEFAULT_DRAWS, examples=[1000])
    seed: Annotated[int, within(0, 2**32 - 1)] = Field(examples=[20220523])
    keep_draws: bool = Field(default=False, examples=[False])

    def settings(self) -> SamplingSettings:
        """The value that workers sample with."""
        return SamplingSettings(n_draws=self.draws, seed=self.seed, keep_draws=self.keep_draws)


class Redshifts(SettingsTable):
    """``[redshifts]``: what becomes of sources whose redshift is a distribution, p(z).

    Parameters
    ----------
    least_share
        Share of p(z) in an instrument's range from which a source is measured with that instrument, too, although another range
        is more probable; above 0, to 1. 0.05 by default.
    """

    least_share: Annotated[float, within(1e-6, 1.0)] = Field(default=DEFAULT_LEAST_SHARE, examples=[DEFAULT_LEAST_SHARE])


class Duplicates(SettingsTable):
    """``[duplicates]``: which rows of different source lists are one galaxy.

    Parameters
    ----------
    radius_arcsec
        Largest distance of two rows of one galaxy, arcsec, 0 to 10; 0 for no search. 0.3 by default.
    same_id
        Whether the ids of the rows must be the same, too. False by default.
    """

    radius_arcsec: Annotated[float, within(0.0, 10.0)] = Field(default=DEFAULT_DUPLICATE_ARCSEC, examples=[0.5])
    same_id: bool = Field(default=False, examples=[True])


class Quality(SettingsTable):
    """``[quality]``: the requirements for a measurement.

    Parameters
    ----------
    min_valid_fraction
        Fraction of a cutout's pixels that must hold data, 0 to 1; a source below it is ``bad_pixels``. 0.5 by default.
    """

    min_valid_fraction: Annotated[float, within(0.0, 1.0)] = Field(default=DEFAULT_MIN_VALID_FRACTION, examples=[0.5])


class Science(SettingsTable):
    """``[science]``: what is assumed about the galaxies.

    Parameters
    ----------
    prevalence
        Share of post-mergers among the galaxies, between 0 and 1, at which the column ``p_pm_at_prevalence`` states
        probabilities. None by default, and then this column is null.
    """

    prevalence: Annotated[float, within(1e-6, 1 - 1e-6)] | None = Field(default=None, examples=[0.1])


class Remote(SettingsTable):
    """``[remote]``: how files at addresses are read.

    Parameters
    ----------
    digest
        What a unit's key takes as the identity of pixels at an address: ``content``, which is read for it, or ``etag``, the size
        and ETag of the file, so that a changed file computes all of its units again.
    """

    digest: Literal["content", "etag"] = Field(default="content", examples=["etag"])


class Tiling(SettingsTable):
    """``[tiling]``: how mosaics are divided into work units.

    Parameters
    ----------
    core_size
        Side of a tile's core, pixels, at least 256. 4096 by default: a window of 71 MB, and as much again for its weights.
    """

    core_size: Annotated[int, within(SMALLEST_CORE_SIZE, 2**31 - 1)] = Field(default=DEFAULT_CORE_SIZE, examples=[4096])


class Discovery(SettingsTable):
    """``[discovery]``: which names are releases, and when their files count as complete; used only by ``--release latest``.

    Parameters
    ----------
    include
        Patterns of the names of releases, in which ``*``, ``?`` and ``[...]`` are wildcards; case counts. All by default.
    exclude
        Patterns of names that are not releases. Names that begin with a dot or end as in `SET_ASIDE` never are. None by default.
    quiet_s
        Seconds since a file's last change that must have passed. 60 by default.
    watch_s
        Seconds between two looks at every file's size and time of change. 1 by default.
    arrival_s
        Seconds since a release's last change after which it counts as broken, and no longer as arriving, if files are missing.
        3600 by default.
    checksums
        Whether the DATASUM and CHECKSUM of FITS files, if present, are compared with their content. True by default.
    """

    include: Annotated[_Patterns, AfterValidator(_not_nothing)] = Field(default=("*",), examples=[["w*"]])
    exclude: _Patterns = Field(default=(), examples=[["*-test"]])
    quiet_s: Annotated[float, within(0.0, 1e6)] = Field(default=DEFAULT_QUIET_S, examples=[DEFAULT_QUIET_S])
    watch_s: Annotated[float, within(0.0, 600.0)] = Field(default=DEFAULT_WATCH_S, examples=[DEFAULT_WATCH_S])
    arrival_s: Annotated[float, within(0.0, 1e8)] = Field(default=DEFAULT_ARRIVAL_S, examples=[DEFAULT_ARRIVAL_S])
    checksums: bool = Field(default=True, examples=[True])

    def why_left_out(self, name: str) -> str | None:
        """Why a name is not taken for that of a release, in words; None if it is taken."""
        if ending := next((each for each in SET_ASIDE if name.lower().endswith(each)), None):
            return f"{name} ends in {ending}, like a release that was set aside"
        if pattern := next((each for each in self.exclude if fnmatchcase(name, each)), None):
            return f'{name} matches "{pattern}" of exclude'
        if not any(fnmatchcase(name, each) for each in self.include):
            return f"{name} matches nothing of include"
        return None


_Fraction = Annotated[float, within(0.0, 1.0)]


class Guard(SettingsTable):
    """``[publish.guard]``: how much worse than the latest revision a new one may be before it is held back from readers.

    Each limit applies to every field and instrument. A limit of 1 switches its comparison off.

    Parameters
    ----------
    max_lost_fraction
        Largest share of the measured sources that may lose their result, for each task. 0.05 by default.
    max_status_fraction
        Largest share of the sources without result whose status may change to another one without result. 0.1 by default.
    max_flag_fraction
        Largest share of the sources measured in both revisions that may get a flag, for each flag. 0.1 by default.
    moved_by
        Change of a source's mean probability above which the probability counts as moved. 0.1 by default.
    max_moved_fraction
        Largest share of the sources measured in both revisions whose probability may move. 0.2 by default.
    max_distance
        Largest distance of Kolmogorov and Smirnov between the distributions of the mean probability. 0.1 by default.
    significance
        Probability of exceeding a limit by chance, at which an excess counts. 0.001 by default.
    """

    max_lost_fraction: _Fraction = Field(default=DEFAULT_MAX_LOST_FRACTION, examples=[DEFAULT_MAX_LOST_FRACTION])
    max_status_fraction: _Fraction = Field(default=DEFAULT_MAX_STATUS_FRACTION, examples=[DEFAULT_MAX_STATUS_FRACTION])
    max_flag_fraction: _Fraction = Field(default=DEFAULT_MAX_FLAG_FRACTION, examples=[DEFAULT_MAX_FLAG_FRACTION])
    moved_by: _Fraction = Field(default=DEFAULT_MOVED_BY, examples=[DEFAULT_MOVED_BY])
    max_moved_fraction: _Fraction = Field(default=DEFAULT_MAX_MOVED_FRACTION, examples=[DEFAULT_MAX_MOVED_FRACTION])
    max_distance: _Fraction = Field(default=DEFAULT_MAX_DISTANCE, examples=[DEFAULT_MAX_DISTANCE])
    significance: Annotated[float, within(1e-12, 0.5)] = Field(default=DEFAULT_SIGNIFICANCE, examples=[DEFAULT_SIGNIFICANCE])


class Publish(SettingsTable):
    """``[publish]``: which revisions are held back from readers.

    Parameters
    ----------
    guard
        The limits beyond which a revision is held.
    """

    guard: Guard = Guard()

    @check_model(mode="before")
    @classmethod
    def _check_that_nobody_is_left_untold(cls, values: Any) -> Any:
        if isinstance(values, dict) and "notify" in values:
            remedy = "Write it as `command` in a table [notify], and notify_timeout_s as `timeout_s` there."
            raise refuse("notify has a table of its own.", remedy)
        return values


class Notify(SettingsTable):
    """``[notify]``: the command that tells somebody what a run did.

    Parameters
    ----------
    command
        Command line to run; it is split into words as a shell would split it, but no shell runs it.
    on
        The events for which it is run. All but ``waiting`` by default.
    timeout_s
        Seconds after which the command is ended. 60 by default.
    """

    command: Annotated[str, AfterValidator(_check_command)] = Field(examples=["mail-the-team v1"])
    on: Annotated[tuple[Event, ...], BeforeValidator(_to_events)] = Field(default=DEFAULT_EVENTS, examples=[["failed"]])
    timeout_s: Annotated[float, within(0.1, 86_400.0)] = Field(
        default=DEFAULT_NOTIFY_TIMEOUT_S, examples=[DEFAULT_NOTIFY_TIMEOUT_S]
    )


def _with_source_columns(table: type[_SomeTable]) -> type[_SomeTable]:
    """Add a key for each column that is read from source lists; the keys of optional columns are None by default."""
    keys: dict[str, Any] = {
        column.key: (Line, Field(examples=[column.example]))
        if column.required
        else (Line | None, Field(default=None, examples=[column.example]))
        for column in SOURCE_COLUMNS.values()
    }
    return create_model(table.__name__, __base__=table, __module__=table.__module__, __doc__=table.__doc__, **keys)


class RedshiftGrid(SettingsTable):
    """``columns.redshift_grid``: densities of p(z) on a grid of redshifts, which all sources share.

    Parameters
    ----------
    density
        Column with an array of densities in each row, in any unit.
    start, step
        First redshift of the grid, and distance to the next.
    grid
        Column with the redshifts of the grid instead.
    table
        Name or number of the table of the same file that has the column ``grid``; None for the table of the sources, each row of
        which holds the same grid.
    """

    density: Line = Field(examples=["PZ"])
    start: Annotated[float, within(-0.01, 100.0)] | None = Field(default=None, examples=[0.0])
    step: Annotated[float, within(1e-6, 100.0)] | None = Field(default=None, examples=[0.01])
    grid: Line | None = Field(default=None, examples=["ZGRID"])
    table: Line | None = Field(default=None, examples=["GRID"])

    @check_model(mode="after")
    def _check_there_is_one_grid(self) -> Self:
        spaced = (self.start is not None, self.step is not None)
        if any(spaced) == (self.grid is not None) or (any(spaced) and not all(spaced)):
            raise refuse("the grid must be stated once.", "Write start and step, or the column `grid`.")
        if self.table is not None and self.grid is None:
            raise refuse("table is stated without grid.", "Name the column `grid` of that table, or leave table out.")
        return self


def _of_distributions(samples: str | None, grid: RedshiftGrid | None) -> set[str]:
    if grid is None:
        return set() if samples is None else {samples}
    return {grid.density} | ({grid.grid} if grid.grid is not None and grid.table is None else set())


@_with_source_columns
class ColumnMap(SettingsTable):
    """``columns``: the names of the needed columns in the source list; names are case-sensitive.

    Its keys are those of `SOURCE_COLUMNS`: ``id``, ``ra``, ``dec`` and ``redshift``, which may be left out.

    Parameters
    ----------
    redshift_samples
        Column with an array of samples of p(z) in each row, instead of ``redshift``; None if there is none.
    redshift_grid
        Column with p(z) on a grid, instead of ``redshift``; None if there is none.
    keep
        Columns that are copied into the catalog, each as ``NAME`` or as ``NAME as NAME_IN_CATALOG``. None by default.
    """

    redshift_samples: Line | None = Field(default=None, examples=["z_samples"])
    redshift_grid: RedshiftGrid | None = None
    keep: _Kept = _KEPT

    def named(self) -> dict[str, str]:
        """The list's names of the columns that it has, by their names in `SourceList`."""
        names = self.model_dump()
        return {name: names[column.key] for name, column in SOURCE_COLUMNS.items() if names[column.key] is not None}

    def of_distributions(self) -> set[str]:
        """The list's names of the columns with redshift distributions, and with their grid if that is in the same table."""
        return _of_distributions(self.redshift_samples, self.redshift_grid)

    def kept(self) -> dict[str, str]:
        """The list's names of the columns that are kept, by their names in the catalog."""
        return _by_kept_name(self.keep)

    @check_model(mode="after")
    def _check_redshifts_are_stated_once(self) -> Self:
        stated = ("redshift", "redshift_samples", "redshift_grid")
        named = [key for key in stated if getattr(self, key) is not None]
        if len(named) > 1:
            raise refuse(f"{' and '.join(named)} both state redshifts.", "Name one; `keep` can copy the column of the other.")
        return self

    @check_model(mode="after")
    def _check_each_kept_name_is_used_once(self) -> Self:
        _check_kept_names(self.keep)
        return self

    @check_model(mode="after")
    def _check_each_column_is_used_once(self) -> Self:
        names = list(self.named().values())
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise refuse(f"the column {', '.join(repeated)} is named more than once.", "Name a separate column for each.")
        return self


class JoinedTable(SettingsTable):
    """``joined``: a table whose columns join those of the source list, by the id of the source.

    Parameters
    ----------
    path
        Path of a table, in any format of a source list.
    id
        Its column with the ids of the source list.
    keep
        Columns that are copied into the catalog, as for ``columns.keep``.
    """

    path: FilePlace = Field(examples=["cosmos_masses.fits"])
    id: Line = Field(examples=["ID"])
    keep: _Kept = _KEPT

    def kept(self) -> dict[str, str]:
        """The table's names of the columns that are kept, by their names in the catalog."""
        return _by_kept_name(self.keep)

    def wanted(self) -> set[str]:
        """The table's names of all columns that are read, without that of ids."""
        return set(self.kept().values())


class RedshiftTable(JoinedTable):
    """``redshifts``: a table of redshifts, or of p(z), that joins the source list by the id of the source.

    Parameters
    ----------
    column
        Column of redshifts; None if the table gives p(z).
    samples
        Column with an array of samples of p(z) in each row; None if there is none.
    grid
        Columns with p(z) on a grid; None if there are none.
    """

    column: Line | None = Field(default=None, examples=["zbest"])
    samples: Line | None = Field(default=None, examples=["z_samples"])
    grid: RedshiftGrid | None = None

    def of_distributions(self) -> set[str]:
        """The table's names of the columns with redshift distributions, and with their grid if that is in the same table."""
        return _of_distributions(self.samples, self.grid)

    def wanted(self) -> set[str]:
        """The table's names of all columns that are read, without that of ids."""
        return {*self.kept().values(), *self.of_distributions()} | ({self.column} if self.column else set())

    @check_model(mode="after")
    def _check_redshifts_are_stated_once(self) -> Self:
        if sum(value is not None for value in (self.column, self.samples, self.grid)) != 1:
            raise refuse("it must name one of `column`, `samples` and `grid`.", 'Write such as column = "zbest".')
        return self


class SourceListSpec(SettingsTable):
    """``[fields.<FIELD>.sources]``: the source list of a field.

    Parameters
    ----------
    path
        Paths or addresses of tables in FITS, Parquet, CSV, ECSV, VOTable, ASCII and other formats, which together are the list;
        ``list.fits[CAT]`` names an extension. A folder stands for the Parquet files in it, or for the HATS catalog that it holds.
    columns
        Names of the needed columns.
    redshifts
        Table of redshifts that joins the list; None if there is none.
    joined
        Further tables that join the list. None by default.
    """

    path: _TablePaths = Field(examples=["cosmos_sources.fits"])
    columns: ColumnMap
    redshifts: RedshiftTable | None = None
    joined: Annotated[tuple[JoinedTable, ...], BeforeValidator(_to_tuple)] = Field(
        default=(), max_length=MOST_JOINED_TABLES, examples=[[{"path": "cosmos_masses.fits", "id": "ID", "keep": ["log_mass"]}]]
    )

    @property
    def is_one_file(self) -> bool:
        """Whether the list is a single file, and not a folder."""
        return len(self.path) == 1 and not (isinstance(self.path[0], Path) and self.path[0].is_dir())

    @property
    def tables(self) -> dict[str, JoinedTable]:
        """The tables that join the list, by what they are for."""
        further = {f"joined {number}": table for number, table in enumerate(self.joined, 1)}
        return ({} if self.redshifts is None else {"redshifts": self.redshifts}) | further

    @check_model(mode="after")
    def _check_redshifts_are_stated_once(self) -> Self:
        of_list = "redshift" in self.columns.named() or bool(self.columns.of_distributions())
        if self.redshifts is not None and of_list:
            raise refuse("both `columns` and `redshifts` state redshifts.", "Name one; `keep` can copy the column of the other.")
        return self

    @check_model(mode="after")
    def _check_each_kept_name_is_used_once(self) -> Self:
        _check_kept_names((*self.columns.keep, *(entry for table in self.tables.values() for entry in table.keep)))
        return self


@dataclass(frozen=True, slots=True)
class MosaicFiles:
    """The files of one mosaic.

    Parameters
    ----------
    science
        FITS image, or the ``https://``, ``s3://`` or ``gs://`` address of one; ``mosaic.fits[SCI]`` names an extension.
    weight
        Its weight map; None if it has none.
    unit
        Unit of its pixels, if BUNIT is missing; None if it is not stated.
    weight_kind
        What the numbers of the weight map are; None for an inverse variance that is not stated to be one.
    zero_point
        AB magnitude of a source of 1 in all, in the image's unit, for images whose header states none; None without it.
    resample
        Whether it is resampled to the pixel scale of the training images.
    psf_fwhm
        Full width at half maximum of a star in it, arcsec; None if it is not stated.
    """

    science: Place
    weight: Place | None = None
    unit: str | None = None
    weight_kind: WeightKind | None = None
    zero_point: float | None = None
    resample: bool = False
    psf_fwhm: float | None = None


class MosaicSpec(SettingsTable):
    """``[fields.<FIELD>.<INSTRUMENT>]``: the mosaics of a field in one instrument, each with its own projection and size.

    Parameters
    ----------
    science
        FITS images, or their ``https://``, ``s3://`` or ``gs://`` addresses; ``mosaic.fits[SCI]`` names an extension. None if a
        table lists the mosaics.
    weight
        Their weight maps in the same order, 0 where there is no data; None if they have none.
    unit
        Unit of the images' pixels, for images without BUNIT: ``electron/s``.
    weight_kind
        What the numbers of the weight maps are; None for inverse variances that are not stated to be any.
    zero_point
        AB magnitude of a source of 1 in all, in the images' unit, for images whose header states none; None without it.
    resample
        Whether images are resampled to the pixel scale of the training images. False by default.
    psf_fwhm
        Full width at half maximum of a star in the images, arcsec: they are flagged if no model was trained on such a PSF. None
        if it is not stated, and then nothing is flagged.
    mosaics
        Table with a row for each mosaic, in the place of ``science`` and ``weight``; None if there is none.
    """

    science: _FilePaths | None = Field(default=None, examples=["cosmos_f814w_sci.fits"])
    weight: _FilePaths | None = Field(default=None, examples=["cosmos_f814w_wht.fits"])
    unit: Line | None = Field(default=None, examples=["electron/s"])
    weight_kind: Annotated[WeightKind, BeforeValidator(_to_weight_kind)] | None = Field(default=None, examples=["rms"])
    zero_point: Annotated[float, within(-10.0, 60.0)] | None = Field(default=None, examples=[28.9])
    resample: bool = Field(default=False, examples=[True])
    psf_fwhm: Annotated[float, within(1e-3, 1e3)] | None = Field(default=None, examples=[0.1])
    mosaics: FilePath | None = Field(default=None, examples=["cosmos_tiles.csv"])

    @property
    def files(self) -> tuple[MosaicFiles, ...]:
        """The files of each mosaic that the workflow names itself; none if a table lists them."""
        images = self.science or ()
        weights = self.weight or (None,) * len(images)
        return tuple(
            MosaicFiles(*both, self.unit, self.weight_kind, self.zero_point, self.resample, self.psf_fwhm)
            for both in zip(images, weights, strict=True)
        )

    @check_model(mode="after")
    def _check_mosaics_are_named_once(self) -> Self:
        if self.science is None and self.mosaics is None:
            raise refuse("it names no mosaic.", 'Add `science = "mosaic.fits"`, or name a table: `mosaics = "mosaics.csv"`.')
        if self.mosaics is not None and (self.science is not None or self.weight is not None):
            remedy = "Write the files into the table, or leave it out."
            raise refuse("a table of mosaics is named beside `science` or `weight`.", remedy)
        if self.science is not None and self.weight is not None and len(self.weight) != len(self.science):
            found = f"{len(self.weight)} weight maps for {len(self.science)} mosaics."
            raise refuse(found, "Name one for each mosaic, in the same order; a table can leave some out.")
        return self


class FieldInputs(SettingsTable):
    """``[fields.<FIELD>]``: a source list, and mosaics for each instrument that observed the field.

    Parameters
    ----------
    sources
        The source list.
    models
        Name of the field whose models measure this one; None for its own name.
    **mosaics
        The mosaics, by instrument.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, MosaicSpec]

    sources: SourceListSpec
    models: _PartName | None = Field(default=None, examples=["COSMOS"])

    @property
    def mosaics(self) -> dict[str, MosaicSpec]:
        """The mosaics, by instrument."""
        return dict(self.__pydantic_extra__)

    @check_model(mode="after")
    def _check_there_is_a_mosaic(self) -> Self:
        if not self.__pydantic_extra__:
            raise refuse("the field has no mosaic.", "Add a table for an instrument, with `science = ...`.")
        return self


class Workflow(SettingsTable):
    """A complete workflow; ``docs/reference/workflow.md`` describes the file.

    Parameters
    ----------
    version
        Version of the file format: 1.
    survey, output, models, sampling, redshifts, duplicates, quality, science, tiling, remote, discovery, publish, notify
        The tables of these names; notify is None if it is left out.
    routing
        Half-open redshift range [low, high) of each instrument; ranges do not overlap.
    fields
        The inputs of each field, by its name.
    """

    version: Annotated[int, of_version(WORKFLOW_VERSION)] = Field(examples=[WORKFLOW_VERSION])
    survey: Survey
    output: Output
    models: Models
    sampling: Sampling
    routing: Annotated[dict[_PartName, _Redshifts], AfterValidator(_not_empty)]
    redshifts: Redshifts = Redshifts()
    duplicates: Duplicates = Duplicates()
    quality: Quality = Quality()
    science: Science = Science()
    tiling: Tiling = Tiling()
    remote: Remote = Remote()
    discovery: Discovery = Discovery()
    publish: Publish = Publish()
    notify: Notify | None = None
    fields: Annotated[dict[_PartName, FieldInputs], AfterValidator(_not_empty)]

    _path: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, FileContext):
            self._path = context.file

    @property
    def path(self) -> Path:
        """The workflow's file."""
        return self._path
