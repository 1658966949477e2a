"""Hostile state in the output folder, and hostile manifests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hostile.breaking import JSON_VALUES, break_json, flipped, make_odd, rewrite
from hostile.families import family
from hostile.world import RUN, Attempt, World

AGAIN = ("run", "workflow.toml", "--profile", "serial", "--engine", "fft")
PLAN = ("plan", "workflow.toml", "--profile", "serial")
READERS = (
    ("status", "catalog"),
    ("status", "catalog", "--json"),
    ("releases", "list", "catalog"),
    ("releases", "verify", "catalog"),
    ("report", "catalog"),
    ("releases", "diff", "catalog", "base-r1"),
    ("fractions", "catalog", "--edges", "0.5,1,1.5"),
    ("releases", "prune", "catalog"),
    ("releases", "rollback", "catalog"),
    PLAN,
)


def _tried(world: World, *commands: tuple[str, ...]) -> Attempt:
    return Attempt(commands=(*commands, world.choose(READERS)), root_is_broken=True)


def _any(world: World, pattern: str) -> Path:
    return world.choose(sorted(world.root.glob(pattern)))


@family
def receipts(world: World) -> Attempt:
    break_json(world, _any(world, "units/*/*.json"))
    return _tried(world, world.choose((AGAIN, RUN, PLAN)))


@family
def units(world: World) -> Attempt:
    path = _any(world, "units/*/*.parquet")
    if world.rng.random() < 0.5:
        rewrite(path, flipped(world, path.read_bytes(), int(world.rng.choice([1, 1, 20]))))
    else:
        make_odd(world, path)
    return _tried(world, world.choose((AGAIN, RUN)))


@family
def work_lists(world: World) -> Attempt:
    """A damaged work list may end a run, but the next one makes the same table."""
    path = _any(world, "lists/*/*")
    if world.rng.random() < 0.7:
        rewrite(path, flipped(world, path.read_bytes(), int(world.rng.choice([1, 1, 20, 1000]))))
    else:
        make_odd(world, path)
    if world.rng.random() < 0.7:
        shutil.rmtree(world.root / "units")
    return Attempt(commands=(world.choose((AGAIN, RUN)), RUN), unspoilt=range(1, 9))


@family
def locks(world: World) -> Attempt:
    path = world.root / "run.lock"
    held = {"run_id": "x", "host": "elsewhere", "pid": 1, "started": "2026-01-01", "boot_id": "b", "start_ticks": 5}
    path.write_text(json.dumps(held))
    break_json(world, path)
    return _tried(world, world.choose((AGAIN, RUN)))


@family
def heartbeats(world: World) -> Attempt:
    folder = world.root / "workers"
    folder.mkdir(exist_ok=True)
    beat = {
        "worker": "h-1",
        "pool": "local",
        "time": 1.8e9,
        "started": 1.7e9,
        "job": "EGS",
        "job_since": 1.79e9,
        "done": 1,
        "failed": 0,
        "memory_mb": 5.0,
        "gpus": [{"name": "0", "busy_percent": 5.0, "memory_mb": 1.0, "memory_total_mb": 2.0}],
    }
    path = folder / world.choose(("h-1.json", "h-1.json", "\x1b[31m.json"))
    path.write_text(json.dumps(beat))
    break_json(world, path)
    return _tried(world, ("status", "catalog"), world.choose((AGAIN, ("status", "catalog", "--json"))))


@family
def digest_caches(world: World) -> Attempt:
    break_json(world, _any(world, "digests/*.json"))
    return _tried(world, world.choose((AGAIN, RUN, PLAN)))


@family
def progress_files(world: World) -> Attempt:
    folder = _any(world, "runs/*")
    path = folder / world.choose(("progress.jsonl", "progress.jsonl", "progress.jsonl", "cluster.json"))
    kind = world.choose(("line", "line", "value", "odd"))
    lines = path.read_text().splitlines()
    if kind == "odd":
        make_odd(world, path)
    elif kind == "line":
        path.write_text("\n".join([*lines, world.choose(JSON_VALUES)]) + "\n")
    else:
        last = world / "last"
        last.write_text(lines[-1])
        break_json(world, last)
        content = last.read_bytes() if last.is_file() and last.stat().st_size < 10**8 and not last.is_symlink() else b"{}"
        path.write_bytes("\n".join(lines[:-1]).encode() + b"\n" + content + b"\n")
    return _tried(world, ("status", "catalog"), world.choose((AGAIN, ("releases", "prune", "catalog"))))


@family
def run_folders(world: World) -> Attempt:
    way = world.choose(("name", "file", "workflow", "runs", "log"))
    folder = _any(world, "runs/*")
    if way == "name":
        folder.rename(
            folder.with_name(world.choose(("x", "\x1b[31m", "99999999T999999-aaaaaa", "é", "zzz", "20261301T000000-abcdef")))
        )
    elif way == "file":
        make_odd(world, folder.parent / "99991231T235959-ffffff")
    elif way == "runs":
        shutil.rmtree(folder.parent)
        make_odd(world, folder.parent)
    else:
        make_odd(world, folder / {"workflow": "workflow.toml", "log": "log.jsonl"}[way])
    return _tried(world, ("status", "catalog"), world.choose((AGAIN, RUN)))


@family
def manifests_in_the_output_folder(world: World) -> Attempt:
    break_json(world, world.root / "latest/manifest.json")
    return _tried(world, world.choose(READERS), world.choose((AGAIN, RUN)))


@family
def manifests_as_workflows(world: World) -> Attempt:
    path = world / "manifest.json"
    shutil.copy(world.root / "latest/manifest.json", path)
    break_json(world, path)
    return Attempt(
        commands=(
            world.choose((("validate", "manifest.json"), ("run", "manifest.json", "--profile", "serial", "--output", "other"))),
        )
    )


@family
def catalog_files(world: World) -> Attempt:
    path = _any(
        world,
        "latest/"
        + world.choose(
            ("*.csv", "*.properties", "dataset/_common_metadata", "dataset/*/*/*.parquet", "skymap.fits", "report.html")
        ),
    )
    way = world.choose(("odd", "flip", "text"))
    if way == "flip":
        rewrite(path, flipped(world, path.read_bytes(), 5))
    elif way == "text":
        rewrite(
            path,
            world.choose(
                ("a,b\n1,2\n", "Norder,Npix\n0,x\n", "Norder,Npix,num_rows\n99,99,99\n" * 9, "\x1b[31m", "Norder\n" * 10**5)
            ).encode(),
        )
    else:
        make_odd(world, path)
    return _tried(world, *(world.choose(READERS) for _ in range(2)))


@family
def the_latest_link(world: World) -> Attempt:
    link = world.root / "latest"
    link.unlink()
    targets = (
        "releases/nowhere",
        "latest",
        "/dev/zero",
        "releases",
        "..",
        "releases/base-r1/manifest.json",
        "/",
        "releases/\x1b[31m",
        ".",
        "releases/base-r1/../base-r1",
    )
    if world.rng.random() < 0.6:
        link.symlink_to(world.choose(targets))
    else:
        make_odd(world, link, world.choose(("folder", "empty", "fifo", "socket", "gone")))
    return _tried(world, world.choose((AGAIN, RUN)))


@family
def folders_of_the_output(world: World) -> Attempt:
    path = world.root / world.choose(
        (
            "units",
            "releases",
            "runs",
            "digests",
            "workers",
            "revision_numbers.json",
            "revision_numbers.json",
            "releases/x-r1",
            "releases/base-r2",
        )
    )
    if path.is_dir():
        shutil.rmtree(path)
    if path.suffix == ".json" and world.rng.random() < 0.6:
        path.write_text(
            world.choose(('{"base": 3}', '{"base": "x"}', '{"base": 1e999}', '{"base": -5}', '{"base": null}', *JSON_VALUES))
        )
    else:
        make_odd(world, path)
    return _tried(world, world.choose((AGAIN, RUN)))
