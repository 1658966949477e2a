"""Hostile settings: keys of the five kinds of file times wrong values, their text, paths, names, command lines and locales."""

from __future__ import annotations

import shutil
from pathlib import Path

from hostile.breaking import ESCAPE, TOML_VALUES, break_toml, make_odd
from hostile.families import family
from hostile.world import FIELD, RUN, Attempt, World

REPOSITORY = Path(__file__).resolve().parents[2]
UNKNOWN = "zzz = 1\n"
"""A key that no file has, so that a simulation or a training never starts."""
NAMES = (
    "Zürich",
    "星系",
    "\u202egnirts",
    ESCAPE,
    "a\x00b",
    "",
    " ",
    "x" * 300,
    "é" * 200,
    ".",
    "..",
    "../x",
    "a/b",
    "-",
    "--help",
    "con",
    "latest",
    "v1-r1",
    "a\nb",
    "a\tb",
    "'\"",
    "$(id)",
    "%s",
    "{release}",
    "<script>alert(1)</script>",
    "\ud7ff",
    "𝔘",
    "a" * 64,
    "sources",
    "*",
    "~",
)


@family
def workflow_keys(world: World) -> Attempt:
    break_toml(world, world / "workflow.toml")
    return Attempt(commands=(("validate", "workflow.toml"), RUN), rows=None)


@family
def profile_keys(world: World) -> Attempt:
    kind = world.choose(("local", "slurm", "kubernetes", "address", "local-gpu", "serial"))
    path = world / "profile.toml"
    source = REPOSITORY / f"surveyflow/sites/{kind.replace('-', '_')}/profile.toml"
    path.write_text(source.read_text() if source.exists() else 'kind = "serial"\nmodels_in_memory = 2\n')
    break_toml(world, path, UNKNOWN if kind != "serial" else "")
    verb = world.choose((("slurm", "render", "workflow.toml"), ("kubernetes", "render"), ("doctor",), RUN[:2]))
    return Attempt(commands=((*verb, "--profile", "profile.toml"),), rows=None)


@family
def simulation_keys(world: World) -> Attempt:
    path = world / "simulate.toml"
    shutil.copy(REPOSITORY / world.choose(("workflows/simulate.toml", "workflows/packaged/simulate-f814w-train.toml")), path)
    break_toml(world, path, UNKNOWN)
    return Attempt(commands=(("simulate", "simulate.toml"),))


@family
def training_keys(world: World) -> Attempt:
    path = world / "train.toml"
    shutil.copy(REPOSITORY / f"workflows/packaged/train-{world.choose(('merger', 'contamination'))}-f814w.toml", path)
    break_toml(world, path, UNKNOWN)
    return Attempt(commands=((world.choose(("train", "evaluate", "tune")), "train.toml"),))


@family
def toml_text(world: World) -> Attempt:
    good = (world / "workflow.toml").read_text()
    ways = (
        lambda: b"".join(b"k%d = %d\n" % (i, i) for i in range(10**5)),
        lambda: b"".join(b"[t%d]\n" % i for i in range(80_000)),
        lambda: b"[sampling]\n" + b"".join(b"k%d = 'x'\n" % i for i in range(60_000)),
        lambda: b"a = " + b"[" * 10**5,
        lambda: b"a = " + b"{a=" * 10**5,
        lambda: b".".join([b"a"] * 10**5) + b" = 1",
        lambda: b"[" + b".".join([b"a"] * 2000) + b"]",
        lambda: b"a = " + b"1" * 5000,
        lambda: b"\x00" + good.encode(),
        lambda: good.encode("utf-16"),
        lambda: good.encode("utf-8-sig"),
        lambda: good.encode() * 2,
        lambda: b"a = '''" + b"x" * 10**6,
        lambda: b"x" * 10**6,
        lambda: b"x" * 2 * 10**6,
        lambda: ("[fields.EGS]\n" * 2).encode(),
        lambda: good.replace("[survey]", "[[survey]]").encode(),
        lambda: b"\xff\xfe",
        lambda: good.replace("EGS", "E" * 5000).encode(),
        lambda: good.replace("[fields.EGS", f'[fields."{ESCAPE}'.replace("\x1b", "\\u001b").replace("\x07", "") + '"').encode(),
        lambda: good.replace("\n", "\r").encode(),
        lambda: "\n".join(f"[fields.F{i}.sources]" for i in range(30_000)).encode(),
        lambda: b"# " + b"x" * 10**6,
        lambda: ("a = [" + "[]," * 300_000 + "]").encode(),
        lambda: ("routing = {" + ",".join(f"F{i} = [{i}, {i + 1}]" for i in range(30_000)) + "}").encode(),
        lambda: good.replace(
            "[routing]", "[routing]\n" + "\n".join(f"G{i} = [{i + 2}, {i + 3}]" for i in range(20_000))
        ).encode(),
    )
    name = world.choose(("workflow.toml", "profile.toml", "train.toml", "simulate.toml"))
    (world / name).write_bytes(world.choose(ways)())
    verbs = {
        "workflow.toml": ("validate", name),
        "profile.toml": ("doctor", "--profile", name),
        "train.toml": ("train", name),
        "simulate.toml": ("simulate", name),
    }
    return Attempt(commands=(verbs[name],))


@family
def things_that_are_no_settings(world: World) -> Attempt:
    name, verb = world.choose(
        (
            ("workflow.toml", ("validate", "workflow.toml")),
            ("workflow.toml", RUN),
            ("workflow.json", ("run", "workflow.json")),
            ("profile.toml", ("doctor", "--profile", "profile.toml")),
            ("train.toml", ("train", "train.toml")),
            ("simulate.toml", ("simulate", "simulate.toml")),
            ("matrix.toml", ("fractions", "catalog", "--edges", "0.5,1,1.5", "--matrix", "matrix.toml")),
        )
    )
    make_odd(world, world / name)
    return Attempt(commands=(verb,))


@family
def paths(world: World) -> Attempt:
    text = world.choose(
        (
            "~nosuchuser/x.fits",
            "~/x.fits",
            "~",
            "https://example.org/x.fits",
            "s3://bucket/x.fits",
            "file:///etc/passwd",
            "x" * 5000,
            "a/" * 2000 + "x",
            "../" * 100 + "etc/passwd",
            "sci.fits/x",
            "/dev/zero",
            "/dev/null",
            "/dev/stdin",
            "/dev/tty",
            "/proc/self/environ",
            "/proc/self/mem",
            "/proc/kcore",
            "/",
            ".",
            "",
            " sci.fits",
            "sci.fits ",
            "sci.fits[",
            "sci.fits[SCI",
            "sci.fits]",
            "[SCI]",
            "*",
            "**/*",
            "?" * 50,
            "[a-",
            "[!",
            "sci.fits[1][2]",
            "{release}",
            "{release}/{release}.fits",
            "{}",
            "{",
            "}",
            "${HOME}/x",
            "sci\x1b[31m.fits",
            "sci\n.fits",
            "NUL",
            "é.fits",
            "\u202e.fits",
            "|id",
            "-",
        )
    )
    place = world.choose(("science", "weight", "path", "root", "store"))

    def edit(document: dict) -> None:
        tables = {"root": document["output"], "store": document["models"], "path": document["fields"][FIELD]["sources"]}
        tables.get(place, document["fields"][FIELD]["F814W"])[place] = text

    world.edit_workflow(edit)
    return Attempt(commands=(("validate", "workflow.toml"), RUN), rows=None)


@family
def names(world: World) -> Attempt:
    name, place = world.choose(NAMES), world.choose(("survey", "field", "instrument", "release", "column", "file"))
    _rename(world, name, place)
    return Attempt(commands=(("validate", "workflow.toml"), RUN[:-2]), rows=None)


@family
def names_in_the_c_locale(world: World) -> Attempt:
    name, place = (
        world.choose(("Zürich", "星系", "𝔘", "\u202eabc", "é\x1b", "ÿ" * 50)),
        world.choose(("survey", "field", "column", "file", "unit", "header")),
    )
    _rename(world, name, place)
    locale = {
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": world.choose(("", "ascii", "ascii:strict")),
    }
    verbs = (RUN[:-2], ("validate", "workflow.toml"), (*RUN, "--json"), ("report", "catalog"), ("status", "catalog"))
    return Attempt(commands=(world.choose(verbs),), environment=locale, rows=None)


def _rename(world: World, name: str, place: str) -> None:
    def edit(document: dict) -> None:
        sources, image = document["fields"][FIELD]["sources"], document["fields"][FIELD]["F814W"]
        match place:
            case "survey" | "release":
                document["survey"]["name" if place == "survey" else "release"] = name
            case "field":
                document["fields"][name] = document["fields"].pop(FIELD)
            case "instrument":
                document["routing"][name] = document["routing"].pop("F814W")
                document["fields"][FIELD][name] = document["fields"][FIELD].pop("F814W")
            case "column":
                sources["columns"]["redshift"] = name
            case "unit":
                image["unit"] = name
            case "file":
                sources["path"] = f"{name}.csv"

    world.edit_workflow(edit)
    if place in ("column", "file"):
        table = world.table()
        if place == "column" and name:
            table.rename_column("Z", name)
        usable = place == "file" and name.strip() and "/" not in name and "\x00" not in name and len(name.encode()) < 240
        table.write(world.name_list(f"{name}.csv" if usable else "list.csv"), format="ascii.csv", overwrite=True)


@family
def command_lines(world: World) -> Attempt:
    value = world.choose(
        (
            "",
            "x",
            "-1",
            "nan",
            "1e400",
            "~nosuchuser",
            "/dev/zero",
            ESCAPE,
            "é",
            "9" * 5000,
            "a/b",
            "../..",
            "latest",
            "*",
            "x" * 300,
            "[",
            "z == '",
        )
    )
    commands = (
        ("run", "workflow.toml", "--release", value),
        ("run", "workflow.toml", "--profile", value),
        ("run", "workflow.toml", "--output", value or "x", "--profile", "serial"),
        ("run", value),
        ("validate", value),
        ("status", value),
        ("report", value),
        ("report", "catalog", "--output", value),
        ("report", "catalog", "--release", value),
        ("releases", "list", value),
        ("releases", "diff", "catalog", value),
        ("releases", "diff", "catalog", "base", value),
        ("releases", "verify", "catalog", "--release", value),
        ("releases", "rollback", "catalog", "--to", value),
        ("releases", "prune", "catalog", "--keep", value),
        ("models", "list", value),
        ("models", "show", value),
        ("models", "check", "models", "--workflow", value),
        ("models", "check", "models", "--workflow", "workflow.toml", "--softening", value or "0", "--cutouts", "20"),
        ("fractions", "catalog", "--edges", value),
        ("fractions", "catalog", "--edges", "0,1,2", "--where", value),
        ("fractions", "catalog", "--edges", "0,1", "--bins", value),
        ("fractions", "catalog", "--edges", "0.5,1,1.5", "--matrix", value),
        ("fractions", "catalog", "--edges", "0,1", "--confidence", value or "0"),
        ("train", value),
        ("simulate", value),
        ("evaluate", value),
        ("doctor", "--profile", value),
        ("demo", value or "x", "--profile", value or "x"),
        (value or "x",),
        ("slurm", "render", "workflow.toml", "--profile", value),
        ("plan", "workflow.toml", "--profile", "serial", "--release", value),
        ("run", "workflow.toml", "--engine", value),
    )
    return Attempt(commands=(world.choose(commands),), rows=None)


@family
def places_that_may_not_be_written(world: World) -> Attempt:
    """A user without rights, who may read everything and write nothing."""
    verbs = (
        ("report", "catalog"),
        ("report", "catalog", "--output", "page.html"),
        RUN,
        ("validate", "workflow.toml"),
        ("plan", "workflow.toml", "--profile", "serial"),
        ("status", "catalog"),
        ("releases", "list", "catalog"),
        ("releases", "rollback", "catalog"),
        ("releases", "verify", "catalog"),
        ("demo", "new", "--profile", "serial"),
        ("releases", "prune", "catalog", "--apply"),
        ("models", "list", "models"),
        ("fractions", "catalog", "--edges", "0.5,1,1.5"),
        ("run", "workflow.toml", "--profile", "serial", "--output", "elsewhere"),
        ("run", "catalog/latest/manifest.json", "--profile", "serial"),
        ("slurm", "render", "workflow.toml", "--profile", "profile.toml"),
    )
    hidden = world.choose(
        (
            None,
            None,
            "list.fits",
            "sci.fits",
            "models",
            "catalog",
            "catalog/latest/manifest.json",
            "workflow.toml",
            "catalog/runs",
            "catalog/units",
        )
    )
    if hidden:
        (world / hidden).chmod(0)
    (world / "profile.toml").write_text('kind = "slurm"\n')
    return Attempt(commands=(world.choose(verbs),), as_nobody=True, rows=None)


assert TOML_VALUES
