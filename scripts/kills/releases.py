"""The verbs on published revisions, killed anywhere: publish, publish a revision that is held, accept, rollback, prune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from catalog_rows import make_rows
from kills.children import Child, Report, Target
from surveyflow.errors import CatalogNotFound
from surveyflow.output.lock import RunLock
from surveyflow.output.units import unit_path, write_unit
from surveyflow.releases.decisions import read_decisions
from surveyflow.releases.holds import accept, waiting
from surveyflow.releases.pruning import plan_pruning, prune
from surveyflow.releases.publish import latest, open_catalog, publish
from surveyflow.releases.revisions import in_order_of_publication
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision

KEPT, MOST_REVISIONS = 2, 6
EVERY_VERB = ("publish", "publish", "hold", "accept", "publish", "rollback", "publish", "hold", "prune", "publish")


@dataclass(frozen=True)
class State:
    """What an output folder offers.

    Parameters
    ----------
    names
        Names of all revisions, the oldest first.
    current
        Name of the revision that ``latest`` names; None if there is none.
    waiting
        Names of the revisions that wait to be accepted, the oldest first.
    never_given
        Names of those of them that readers have never been given.
    """

    names: tuple[str, ...]
    current: str | None
    waiting: tuple[str, ...]
    never_given: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> State:
        """Look at an output folder, which may not exist yet."""
        revision, held = (latest(root), waiting(root)) if root.exists() else (None, [])
        return cls(
            tuple(each.name for each in in_order_of_publication(root)),
            None if revision is None else revision.name,
            tuple(hold.revision.name for hold in held),
            tuple(hold.revision.name for hold in held if not hold.rolled_back),
        )

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the revisions that ``latest`` may be rolled back to, the oldest first."""
        return tuple(name for name in self.names if name not in (self.current, *self.never_given))

    def may_follow(self, verb: str, before: State) -> bool:
        """Whether ``latest`` names what it may name after a verb, ended or not."""
        if self.current == before.current:
            return True
        return {
            "publish": self.current not in before.names,
            "accept": self.current in before.waiting[-1:],
            "rollback": self.current in before.given,
        }.get(verb, False)


class Releases(Target):
    """An output folder whose revisions are published, held, accepted, rolled back and pruned, and the process killed meanwhile.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Seed of the verbs and moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(seed)
        self._root = folder / "catalog"
        self._tables: dict[str, pd.DataFrame] = {}
        self._number = 0
        self._durations = dict.fromkeys(VERBS, 0.0)
        for verb in EVERY_VERB:
            self._finish(verb)

    def kill_once(self) -> None:
        """Start a verb and kill it at a random moment; finish it undisturbed now and then."""
        verb = str(self.rng.choice(list(VERBS)))
        self._prepare(verb)
        before = State.of(self._root)
        ended = self._start(verb).kill(self.tally, self.rng.uniform(0, 1.1 * self._durations[verb]))
        self._check(verb, before)
        if ended:
            self.tally.completed += 1
        if self.rng.random() < 0.2 or len(before.names) > MOST_REVISIONS:
            self._finish("prune" if len(before.names) > MOST_REVISIONS else "publish")

    def finish(self) -> None:
        """Do every verb undisturbed, and look for leftovers."""
        for verb in EVERY_VERB:
            self._finish(verb)
        leftovers = [*self._root.glob("releases/.*"), *self._root.glob(".latest*"), *self._root.glob("run.lock*")]
        assert not leftovers, leftovers

    def _prepare(self, verb: str) -> None:
        """Do what a verb needs in order to have something to do."""
        if verb == "accept" and not State.of(self._root).waiting:
            self._finish("hold")
        while (verb == "rollback" and not State.of(self._root).given) or (verb == "prune" and not self._too_many()):
            self._finish("publish")

    def _too_many(self) -> bool:
        return bool(plan_pruning(self._root, KEPT).revisions)

    def _start(self, verb: str) -> Child:
        self._number += verb in ("publish", "hold")
        return Child(VERBS[verb], self._root, self._number)

    def _finish(self, verb: str) -> None:
        """Do a verb undisturbed, and check that it did what it is for."""
        before = State.of(self._root)
        self._durations[verb] = max(self._start(verb).finish(), 0.5 * self._durations[verb])
        self._check(verb, before)
        self.tally.completed += 1
        now = State.of(self._root)
        assert (now.current == before.current) == (verb in ("hold", "prune")), (verb, before, now)
        assert verb != "hold" or now.waiting[-1] not in before.names
        assert verb != "prune" or not self._too_many()

    def _check(self, verb: str, before: State) -> None:
        """Every revision is intact, has the rows that it was published with, none is missing, and readers have the right one."""
        now = State.of(self._root)
        for name in now.names:
            check_revision(self._root / "releases" / name)
            found = _sorted(open_catalog(self._root, name).to_table().to_pandas())
            pd.testing.assert_frame_equal(found, self._tables.setdefault(name, _sorted(rows(self._number).to_pandas())))
        lost = set(before.names) - set(now.names)
        assert not lost or (verb == "prune" and len(now.names) >= KEPT), lost
        assert now.may_follow(verb, before), (verb, before, now)
        self._check_holds(before, now)

    def _check_holds(self, before: State, now: State) -> None:
        """A held revision waits until readers are given it or a later one, and they are given it only after a decision.

        A rollback that is killed before it moves ``latest`` has recorded already that the revision is rolled back.
        """
        current = latest(self._root)
        assert current is not None
        assert not current.held or current.name in read_decisions(self._root)
        assert now.current != before.current or set(before.waiting[-1:]) <= set(now.waiting), (before, now)


def rows(number: int) -> pd.DataFrame:
    """The rows that the revision of this number has beside its unit's."""
    return make_rows(200, seed=number)


def do_publish(report: Report, root: Path, number: int, reasons: Sequence[str] = ()) -> None:
    """Publish a revision of one unit; it is held if there are reasons."""
    report("hold" if reasons else "publish")
    with RunLock(root, f"publish-{number}") as lock:
        receipt = write_unit(root, f"{number:064x}", "EGS/F814W/0", {}, rows(number), seconds=1.0, worker="")
        unit = {"name": receipt.name, "key": receipt.key, "rows": receipt.n_rows}
        about = {"created": f"2026-01-01T00:00:00.{number:09d}", "unit_keys": [unit]}
        publish(root, "v1", [receipt], None, about, judge=lambda _: reasons, guard=lock.check)
    assert unit_path(root, receipt.key).exists()


def do_hold(report: Report, root: Path, number: int) -> None:
    """Publish a revision that is held."""
    do_publish(report, root, number, ["It has no measured row."])


def do_accept(report: Report, root: Path, number: int) -> None:
    """Accept the newest revision that waits."""
    report("accept")
    accept(root)


def do_rollback(report: Report, root: Path, number: int) -> None:
    """Roll back by one revision, or return to the newest other one if there is none before."""
    report("rollback")
    try:
        roll_back(root)
    except CatalogNotFound:
        roll_back(root, State.of(root).given[-1])


def do_prune(report: Report, root: Path, number: int) -> None:
    """Keep two revisions and the latest."""
    report("prune")
    prune(root, KEPT)


VERBS = {"publish": do_publish, "hold": do_hold, "accept": do_accept, "rollback": do_rollback, "prune": do_prune}


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["field", "source_id"]).reset_index(drop=True)
