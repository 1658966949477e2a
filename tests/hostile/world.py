"""A tiny survey of one field with everything that an input may stand in the place of, and a published catalog."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from mosaic_files import tan_header
from surveyflow.tasks.card import Architecture
from worlds import write_untrained_models

SHAPE = (280, 300)
SIZE = 32
FIELD = "EGS"
NETWORK = Architecture(input_size=SIZE, filters=(2,), kernel_sizes=(3,), dense=(2,))
POSITIONS_XY = (
    (30.2, 40.1),
    (90.7, 35.5),
    (150.0, 60.3),
    (220.4, 45.9),
    (40.5, 140.2),
    (120.3, 150.8),
    (200.1, 160.6),
    (270.3, 265.2),
)
WORKFLOW = f"""\
version = 1
[survey]
name = "hostile"
release = "base"
[output]
root = "catalog"
[models]
store = "models"
[sampling]
draws = 20
seed = 7
[routing]
F814W = [0.5, 1.5]
[quality]
min_valid_fraction = 0.5
[tiling]
core_size = 256
[discovery]
quiet_s = 0.0
watch_s = 0.0
[fields.{FIELD}.sources]
path = "list.fits"
columns = {{ id = "ID", ra = "RA", dec = "DEC", redshift = "Z" }}
[fields.{FIELD}.F814W]
science = "sci.fits"
weight = "wht.fits"
"""
RUN = ("run", "workflow.toml", "--profile", "serial", "--engine", "fft", "--release", "hostile")
"""A run that publishes a new release if its input is accepted."""


@dataclass(frozen=True)
class Attempt:
    """What to try in a broken world.

    Parameters
    ----------
    commands
        Command lines, run one after the other.
    environment
        Variables of a process of its own; None to run in a forked process.
    as_nobody
        Whether to run as a user without any rights.
    unspoilt
        Ids of the sources whose results must be those of the unbroken world if the input is accepted.
    rows
        Number of rows that a catalog made from the input has; None if the input may have any number.
    root_is_broken
        Whether the published catalog itself was damaged.
    """

    commands: Sequence[Sequence[str]] = (RUN,)
    environment: dict[str, str] | None = None
    as_nobody: bool = False
    unspoilt: Sequence[int] = ()
    rows: int | None = len(POSITIONS_XY)
    root_is_broken: bool = False


@dataclass
class World:
    """The folder of a survey, and a random generator for what is broken in it."""

    folder: Path
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def root(self) -> Path:
        return self / "catalog"

    @property
    def model(self) -> Path:
        return self / f"models/merger/F814W/{FIELD}"

    def choose(self, things: Sequence[Any]) -> Any:
        """One of several things."""
        return things[int(self.rng.integers(len(things)))]

    def edit_workflow(self, edit: Callable[[dict[str, Any]], Any]) -> None:
        """Change the workflow's document in place."""
        document = tomllib.loads((self / "workflow.toml").read_text(encoding="utf-8"))
        edit(document)
        (self / "workflow.toml").write_text(tomlkit.dumps(document), encoding="utf-8")

    def name_list(self, name: str) -> Path:
        """Make the workflow read another source list, and return its path."""
        self.edit_workflow(lambda document: document["fields"][FIELD]["sources"].update(path=name))
        return self / name

    def name_image(self, role: str, name: str) -> Path:
        """Make the workflow read another image, and return its path."""
        self.edit_workflow(lambda document: document["fields"][FIELD]["F814W"].update({role: name}))
        return self / name

    def table(self) -> Table:
        """The source list."""
        x, y = np.transpose(POSITIONS_XY)
        ra, dec = WCS(tan_header()).wcs_pix2world(x, y, 0)
        ids = np.arange(1, len(x) + 1)
        return Table({"ID": ids, "RA": ra, "DEC": dec, "Z": 0.6 + 0.1 * ids})


def make_world(folder: Path) -> None:
    """Write the survey; its catalog is published by a run."""
    world = World(folder)
    write_pixels(world / "sci.fits", science_pixels(), BUNIT="ELECTRONS/S")
    write_pixels(world / "wht.fits", np.ones(SHAPE, np.float32))
    world.table().write(world / "list.fits")
    for task in ("merger", "contamination"):
        write_untrained_models(world / "models", [FIELD], NETWORK, task)
    shutil.rmtree(world / "models/merger/F125W_F160W")
    shutil.rmtree(world / "models/contamination/F125W_F160W")
    (world / "workflow.toml").write_text(WORKFLOW)


def science_pixels() -> np.ndarray:
    """Noise with a galaxy at every position."""
    pixels = np.random.default_rng(1).normal(0, 1e-3, SHAPE)
    y, x = np.indices(SHAPE)
    for number, (x0, y0) in enumerate(POSITIONS_XY):
        pixels += 0.1 / (number + 1) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (8 + number))
    return pixels.astype(np.float32)


def write_pixels(path: Path, pixels: np.ndarray, **cards: Any) -> None:
    """Write an image with the survey's astrometry."""
    header = tan_header()
    header.update(cards)
    fits.PrimaryHDU(pixels, header).writeto(path, overwrite=True)


def run_here(arguments: Sequence[str]) -> Any:
    """Run the command line in this process, and return its exit code."""
    from surveyflow.commands.main import main

    sys.argv = ["surveyflow", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0
