"""The verbs on published revisions, killed anywhere: publish, rollback, prune."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from catalog_rows import make_rows
from kills.children import Child, Report, Tally
from surveyflow.errors import CatalogNotFound
from surveyflow.output.lock import RunLock
from surveyflow.output.units import unit_path, write_unit
from surveyflow.releases.pruning import prune
from surveyflow.releases.publish import latest, publish, read_catalog
from surveyflow.releases.revisions import in_order_of_publication, revision_names
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision

KEPT, MOST_REVISIONS = 2, 6


class Releases:
    """An output folder whose revisions are published, rolled back and pruned, and the process killed meanwhile.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Seed of the verbs and moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tally = Tally()
        self._root = folder / "catalog"
        self._tables: dict[str, pd.DataFrame] = {}
        self._number = 0
        self._durations = dict.fromkeys(VERBS, 0.0)
        for verb in ("publish", "publish", "publish", "rollback", "publish", "prune", "publish"):
            self._finish(verb)

    def kill_once(self) -> None:
        """Start a verb and kill it at a random moment; finish it undisturbed now and then."""
        verb = str(self.rng.choice(list(VERBS)))
        if verb == "prune" and len(revision_names(self._root)) <= KEPT:
            verb = "publish"
        before = self._names()
        ended = self._start(verb).kill(self.tally, self.rng.uniform(0, 1.1 * self._durations[verb]))
        self._check(verb, before)
        if ended:
            self.tally.completed += 1
        if self.rng.random() < 0.2 or len(before) > MOST_REVISIONS:
            self._finish("prune" if len(before) > MOST_REVISIONS else "publish")

    def finish(self) -> None:
        """Do every verb undisturbed, and look for leftovers."""
        for verb in ("publish", "publish", "publish", "rollback", "prune", "publish"):
            self._finish(verb)
        leftovers = [*self._root.glob("releases/.*"), *self._root.glob(".latest*"), *self._root.glob("run.lock*")]
        assert not leftovers, leftovers

    def _start(self, verb: str) -> Child:
        self._number += verb == "publish"
        return Child(VERBS[verb], self._root, self._number)

    def _finish(self, verb: str) -> None:
        """Do a verb undisturbed, and check that it did what it is for."""
        before, current = self._names(), latest(self._root) if self._root.exists() else None
        self._durations[verb] = max(self._start(verb).finish(), 0.5 * self._durations[verb])
        self._check(verb, before)
        self.tally.completed += 1
        now = latest(self._root)
        assert now is not None
        if verb == "prune":
            assert len(revision_names(self._root)) <= KEPT + 1
        else:
            assert current is None or now.name != current.name

    def _names(self) -> set[str]:
        return set(revision_names(self._root))

    def _check(self, verb: str, before: set[str]) -> None:
        """Every revision is intact, has the rows that it was published with, and none is missing."""
        revisions = in_order_of_publication(self._root)
        current = latest(self._root)
        for revision in revisions:
            check_revision(revision.path)
            found = _sorted(read_catalog(self._root, release=revision.name))
            pd.testing.assert_frame_equal(found, self._tables.setdefault(revision.name, _sorted(rows(self._number).to_pandas())))
        lost = before - {revision.name for revision in revisions}
        assert current is not None or not before
        assert not lost or (verb == "prune" and len(revisions) >= KEPT), lost


def rows(number: int) -> pd.DataFrame:
    """The rows that the revision of this number has beside its unit's."""
    return make_rows(200, seed=number)


def do_publish(report: Report, root: Path, number: int) -> None:
    """Publish a revision of one unit."""
    report("publish")
    with RunLock(root, f"publish-{number}") as lock:
        receipt = write_unit(root, f"{number:064x}", "EGS/F814W/0", {}, rows(number), seconds=1.0, worker="")
        unit = {"name": receipt.name, "key": receipt.key, "rows": receipt.n_rows}
        about = {"created": f"2026-01-01T00:00:00.{number:09d}", "unit_keys": [unit]}
        publish(root, "v1", [receipt], None, about, guard=lock.check)
    assert unit_path(root, receipt.key).exists()


def do_rollback(report: Report, root: Path, number: int) -> None:
    """Roll back by one revision, or return to the newest if there is none before."""
    report("rollback")
    try:
        roll_back(root)
    except CatalogNotFound:
        roll_back(root, in_order_of_publication(root)[-1].name)


def do_prune(report: Report, root: Path, number: int) -> None:
    """Keep two revisions and the latest."""
    report("prune")
    prune(root, KEPT)


VERBS = {"publish": do_publish, "rollback": do_rollback, "prune": do_prune}


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["field", "source_id"]).reset_index(drop=True)
