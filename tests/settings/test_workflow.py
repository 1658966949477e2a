"""A workflow is read whole, or refused with every problem it has."""

from __future__ import annotations

import os
import pickle
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from surveyflow.errors import WorkflowError
from surveyflow.settings.workflow import (
    ColumnMap,
    FieldInputs,
    Models,
    MosaicSpec,
    Output,
    Quality,
    Sampling,
    Science,
    SourceListSpec,
    Survey,
    Tiling,
    Workflow,
    load_workflow,
    to_toml,
)
from surveyflow.values.codes import Event, WeightKind
from surveyflow.values.jobs import SamplingSettings

HEALTHY = """\
version = 1
[survey]
name = "candels"
release = "v1.0"
[output]
root = "catalogs/candels"
[models]
store = "models"
[sampling]
draws = 500
seed = 20220523
[routing]
F814W = [0.5, 1.5]
F125W_F160W = [1.5, 3.0]
[fields.COSMOS.sources]
path = "cosmos.fits"
columns = { id = "ID", ra = "RA", dec = "DEC", redshift = "zbest" }
[fields.COSMOS.F814W]
science = "cosmos_sci.fits[SCI]"
weight = "cosmos_wht.fits"
[fields.EGS.sources]
path = "egs.cat"
columns = { id = "NUMBER", ra = "ALPHA_J2000", dec = "DELTA_J2000" }
[fields.EGS.F814W]
science = "egs_sci.fits"
"""
FILES = ("cosmos.fits", "cosmos_sci.fits", "cosmos_wht.fits", "egs.cat", "egs_sci.fits")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def load(folder: Path, text: str) -> Workflow:
    file = folder / "candels.toml"
    file.write_text(text, encoding="utf-8")
    return load_workflow(file)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        load(folder, text)
    return [str(problem) for problem in caught.value.problems]


def test_a_healthy_workflow_has_absolute_paths_and_its_values(world):
    workflow = load(world, HEALTHY)
    cosmos = workflow.fields["COSMOS"]
    assert workflow.path == world / "candels.toml"
    assert (workflow.survey.name, workflow.survey.release) == ("candels", "v1.0")
    assert workflow.output.root == world / "catalogs/candels"
    assert workflow.models.store == world / "models"
    assert workflow.routing == {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}
    assert cosmos.sources.path == (world / "cosmos.fits",)
    assert cosmos.sources.columns == ColumnMap(id="ID", ra="RA", dec="DEC", redshift="zbest")
    assert cosmos.mosaics == {"F814W": MosaicSpec(science=world / "cosmos_sci.fits[SCI]", weight=world / "cosmos_wht.fits")}
    assert workflow.fields["EGS"].mosaics["F814W"].weight is None
    assert workflow.fields["EGS"].sources.columns.redshift is None
    assert workflow.sampling.settings() == SamplingSettings(n_draws=500, seed=20220523, keep_draws=False)


def test_defaults_are_those_of_the_reference(world):
    workflow = load(world, HEALTHY.replace("draws = 500\n", ""))
    assert workflow.sampling.draws == 1000
    assert not workflow.sampling.keep_draws
    assert workflow.quality.min_valid_fraction == 0.5
    assert workflow.tiling.core_size == 4096
    assert workflow.science.prevalence is None


def test_optional_tables_are_read(world):
    workflow = load(
        world, HEALTHY + "[tiling]\ncore_size = 256\n[quality]\nmin_valid_fraction = 0\n[science]\nprevalence = 0.1\n"
    )
    assert workflow.science.prevalence == 0.1
    assert workflow.tiling.core_size == 256
    assert workflow.quality.min_valid_fraction == 0.0


def test_paths_are_relative_to_the_workflow_and_not_to_where_it_is_run(world, monkeypatch):
    (world / "candels.toml").write_text(HEALTHY)
    monkeypatch.chdir(world.parent)
    assert load_workflow(Path(world.name) / "candels.toml").models.store == world / "models"


def test_a_byte_order_mark_is_read_past(world):
    (world / "candels.toml").write_text("\ufeff" + HEALTHY, encoding="utf-8")
    assert load_workflow(world / "candels.toml").survey.name == "candels"


def test_a_workflow_is_frozen_and_survives_pickling(world):
    workflow = load(world, HEALTHY)
    with pytest.raises(ValidationError):
        workflow.survey.release = "v2"
    copy = pickle.loads(pickle.dumps(workflow))
    assert copy == workflow
    assert copy.path == workflow.path


def test_nothing_is_written_while_a_workflow_is_checked(world):
    load(world, HEALTHY)
    assert sorted(path.name for path in world.iterdir()) == sorted([*FILES, "models", "candels.toml"])


# What is broken, by what it is replaced with, and words of the message: file and key, what was found, remedy.
BROKEN = [
    ("version = 1", "version = 2", ["candels.toml: version:", "found 2, expected 1"]),
    ("version = 1\n", "", ["candels.toml: version: is missing", "Add `version = 1`"]),
    ("version = 1", "version = true", ["candels.toml: version:", "found true, expected a whole number"]),
    ("[survey]", "[survye]", ["candels.toml: [survye]:", "Did you mean `survey`?"]),
    ("[models]\n", "", ["candels.toml: [output] store: is not a key"]),
    ("draws =", "draw =", ["[sampling] draw:", "Did you mean `draws`?"]),
    ("seed = 20220523\n", "", ["[sampling] seed: is missing.", "Add `seed = 20220523`"]),
    ("draws = 500", 'draws = "500"', ["[sampling] draws:", "found the text '500', expected a whole number", "`draws = 1000`"]),
    ("draws = 500", "draws = 500.0", ["[sampling] draws:", "found 500.0, expected a whole number"]),
    ("draws = 500", "draws = true", ["[sampling] draws:", "found true, expected a whole number"]),
    ("draws = 500", "draws = 0", ["[sampling] draws:", "found 0, expected a number from 1 to 65535"]),
    ("draws = 500", "draws = 65536", ["[sampling] draws:", "found 65536, expected a number from 1 to 65535"]),
    ("seed = 20220523", "seed = -1", ["[sampling] seed:", "found -1", "0 to 4294967295"]),
    ("seed = 20220523", "seed = 4294967296", ["[sampling] seed:", "found 4294967296"]),
    ("seed = 20220523", "seed = 2022-05-23", ["[sampling] seed:", "2022", "expected a whole number"]),
    ("seed = 20220523", "seed = 1\nkeep_draws = 1", ["[sampling] keep_draws:", "found 1, expected true or false"]),
    ("[0.5, 1.5]", "[1.5, 0.5]", ["[routing] F814W:", "found [1.5, 0.5], expected finite 0 <= low < high"]),
    ("[0.5, 1.5]", "[0.5, 0.5]", ["[routing] F814W:", "low < high"]),
    ("[0.5, 1.5]", "[-0.5, 1.5]", ["[routing] F814W:", "0 <= low"]),
    ("[0.5, 1.5]", "[0.5, inf]", ["[routing] F814W:", "finite"]),
    ("[0.5, 1.5]", "[nan, 1.5]", ["[routing] F814W:", "finite"]),
    ("[0.5, 1.5]", "[0.5, 1.5, 2.0]", ["[routing] F814W:", "expected two numbers, [low, high]"]),
    ("[0.5, 1.5]", "0.5", ["[routing] F814W:", "found 0.5, expected two numbers, [low, high]", "[0.5, 1.5]"]),
    ("[0.5, 1.5]", '["0.5", 1.5]', ["[routing] F814W:", "found the text '0.5', expected a number"]),
    ("[0.5, 1.5]", "[0.5, 1.6]", ["[routing] F125W_F160W:", "overlaps F814W [0.5, 1.6]"]),
    ('release = "v1.0"', 'release = "v1/0"', ["[survey] release:", "cannot name a folder"]),
    ('release = "v1.0"', 'release = "v1 0"', ["[survey] release:", "cannot name a folder"]),
    ('release = "v1.0"', 'release = ".v1"', ["[survey] release:", "cannot name a folder"]),
    ('release = "v1.0"', 'release = ""', ["[survey] release:", "cannot name a folder"]),
    ('release = "v1.0"', 'release = "v1.0-r2"', ["[survey] release:", "a name that surveyflow gives to revisions"]),
    ('release = "v1.0"', 'release = "latest"', ["[survey] release:", "a name that surveyflow gives to revisions"]),
    ('release = "v1.0"', "release = 1.0", ["[survey] release:", "found 1.0, expected text in quotes"]),
    ('name = "candels"', 'name = "  "', ["[survey] name:", "not blank"]),
    ("[fields.EGS.", '[fields."E/S".', ["[fields.E/S]:", "cannot be part of a path", "Rename it"]),
    ("F125W_F160W =", "'F125W/F160W' =", ["[routing] F125W/F160W:", "cannot be part of a path"]),
    (
        "[fields.EGS.F814W]",
        "[fields.EGS.F841W]",
        ["[fields.EGS.F841W]:", "not an instrument of [routing]", "Did you mean `F814W`?"],
    ),
    ("[fields.EGS.sources]", "[fields.EGS.source]", ["[fields.EGS.source]:", "Did you mean `sources`?"]),
    ('science = "egs_sci.fits"', 'scienec = "egs_sci.fits"', ["[fields.EGS.F814W] scienec:", "Did you mean `science`?"]),
    ('[fields.EGS.F814W]\nscience = "egs_sci.fits"\n', "", ["[fields.EGS]:", "the field has no mosaic"]),
    ('id = "NUMBER"', 'ID = "NUMBER"', ["[fields.EGS.sources.columns] ID:", "Did you mean `id`?"]),
    ('id = "NUMBER", ', "", ["[fields.EGS.sources.columns] id: is missing.", 'Add `id = "ID"`']),
    ('id = "NUMBER"', "id = 1", ["[fields.EGS.sources.columns] id:", "found 1, expected text in quotes"]),
    ('ra = "ALPHA_J2000"', 'ra = "DELTA_J2000"', ["[fields.EGS.sources.columns]:", "DELTA_J2000 is named more than once"]),
    ('path = "egs.cat"', 'path = "egs.cta"', ["[fields.EGS.sources] path:", "egs.cta does not exist", "Did you mean egs.cat"]),
    ('path = "egs.cat"', 'path = "no/such/egs.cat"', ["[fields.EGS.sources] path:", "the nearest folder that does is"]),
    ('path = "egs.cat"', 'path = ["egs.cat", "gone.cat"]', ["[fields.EGS.sources] path", "gone.cat does not exist"]),
    ('path = "egs.cat"', 'path = ""', ["[fields.EGS.sources] path:", "expected a path"]),
    ('path = "egs.cat"', 'path = "egs\\u0000.cat"', ["[fields.EGS.sources] path:", "expected a path"]),
    ('path = "egs.cat"', f'path = "{"x" * 5000}"', ["[fields.EGS.sources] path:", "does not exist"]),
    ('"cosmos_sci.fits[SCI]"', '"cosmo_sci.fits[SCI]"', ["[fields.COSMOS.F814W] science:", "Did you mean cosmos_sci.fits"]),
    ('weight = "cosmos_wht.fits"', "weight = false", ["[fields.COSMOS.F814W] weight:", "found false, expected a path"]),
    ('"cosmos_wht.fits"', '"./cosmos_sci.fits[SCI]"', ["[fields.COSMOS.F814W] weight:", "science, too"]),
    ('"egs_sci.fits"', '"cosmos_sci.fits[SCI]"', ["[fields.EGS.F814W] science:", "named by [fields.COSMOS.F814W] science, too"]),
    ('"egs_sci.fits"', '"cosmos_wht.fits"', ["[fields.EGS.F814W] science:", "named by [fields.COSMOS.F814W] weight, too"]),
    ('root = "catalogs/candels"', 'root = "egs.cat"', ["[output] root:", "is a file", "Name another folder"]),
    ('root = "catalogs/candels"', 'root = "egs.cat/out"', ["[output] root:", "egs.cat is a file, so no folder can be made"]),
    ('store = "models"', 'store = "modelz"', ["[models] store:", "Did you mean models?", "surveyflow models import"]),
    ('store = "models"', 'store = "egs.cat"', ["[models] store:", "expected the folder of a model store"]),
    ("[fields.COSMOS.F814W]", "[tiling]\ncore_size = 255\n[fields.COSMOS.F814W]", ["[tiling] core_size:", "255"]),
    (
        "[fields.COSMOS.F814W]",
        "[quality]\nmin_valid_fraction = 1.1\n[fields.COSMOS.F814W]",
        ["[quality] min_valid_fraction:", "1.1"],
    ),
    (
        "[fields.COSMOS.F814W]",
        "[quality]\nmin_valid_fraction = nan\n[fields.COSMOS.F814W]",
        ["[quality] min_valid_fraction:", "nan"],
    ),
    ("[routing]\n", "", ["candels.toml: [routing]: is missing."]),
]


@pytest.mark.parametrize(("found", "replacement", "words"), BROKEN, ids=[f"{i}-{b[1][:30]!r}" for i, b in enumerate(BROKEN)])
def test_a_broken_workflow_names_the_file_the_key_and_the_remedy(world, found, replacement, words):
    assert found in HEALTHY
    messages = problems(world, HEALTHY.replace(found, replacement))
    for word in words:
        assert word in "\n".join(messages)
    assert len(messages) <= 3, "one mistake must not be told as many"


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(world):
    text = HEALTHY.replace("draws = 500", "draws = 0").replace("[0.5, 1.5]", "[0.5, 2.0]").replace("egs.cat", "gone.cat")
    text = (
        text.replace("[survey]", "[survey]\nnamee = 1").replace("egs_sci.fits", "cosmos_wht.fits").replace('store = "models"', "")
    )
    places = [problem.split(": ")[1] for problem in problems(world, text)]
    assert places == [
        "[survey] namee",
        "[models] store",
        "[sampling] draws",
        "[routing] F125W_F160W",
        "[fields.EGS.sources] path",
        "[fields.EGS.F814W] science",
    ]


def test_empty_tables_of_fields_and_routing_are_refused(world):
    head = HEALTHY.partition("[routing]")[0]
    messages = problems(world, head + "[routing]\n[fields]\n")
    assert [message.split(": ")[1] for message in messages] == ["[routing]", "[fields]"]
    assert all("the table is empty. Add at least one entry." in message for message in messages)


def test_a_value_where_a_table_belongs_is_reported(world):
    head = HEALTHY.partition("[fields.COSMOS.sources]")[0].replace("[survey]", "[x]")
    messages = "\n".join(problems(world, f"survey = 3\nfields = 4\n{head}"))
    assert "[survey]: found 3, expected a table" in messages
    assert "[fields]: found 4, expected a table" in messages
    assert "[fields.EGS]: found 5, expected a table" in "\n".join(problems(world, head + "[fields]\nEGS = 5\n"))


MOSAICS = [
    (
        '["egs_sci.fits", "egs_sci.fits"]',
        ["[fields.EGS.F814W] science:", "is named by [fields.EGS.F814W] science, too"],
    ),
    ('["egs_sci.fits", "gone.fits"]', ["[fields.EGS.F814W] science:", "gone.fits does not exist"]),
    ("[]", ["[fields.EGS.F814W] science:", "found the list [], expected a path, or a list of paths"]),
    ('"egs_sci.fits"\nweight = ["a.fits", "egs.cat"]', ["[fields.EGS.F814W]"]),
    ('"egs_sci.fits"\nmosaics = "egs.cat"', ["[fields.EGS.F814W]:", "a table of mosaics is named beside `science`"]),
]


@pytest.mark.parametrize(("science", "words"), MOSAICS, ids=[science for science, _ in MOSAICS])
def test_mosaics_that_cannot_be_meant_are_refused(world, science, words):
    messages = problems(world, HEALTHY.replace('science = "egs_sci.fits"', f"science = {science}"))
    for word in words:
        assert word in "\n".join(messages)


def test_a_list_of_mosaics_needs_a_weight_map_for_each(world):
    text = HEALTHY.replace('science = "egs_sci.fits"', 'science = ["egs_sci.fits", "egs.cat"]\nweight = ["cosmos.fits"]')
    assert any("1 weight maps for 2 mosaics. Name one for each mosaic" in message for message in problems(world, text))


def test_what_a_weight_map_holds_is_one_of_four_kinds(world):
    stated = HEALTHY.replace('weight = "cosmos_wht.fits"', 'weight = "cosmos_wht.fits"\nweight_kind = KIND\nzero_point = 25.9')
    spec = load(world, stated.replace("KIND", '"inverse variance"')).fields["COSMOS"].mosaics["F814W"]
    assert (spec.weight_kind, spec.zero_point) == (WeightKind.INVERSE_VARIANCE, 25.9)
    assert [(each.weight_kind, each.zero_point) for each in spec.files] == [(WeightKind.INVERSE_VARIANCE, 25.9)]
    assert spec.files[0].psf_fwhm is None
    wide = load(world, HEALTHY.replace('weight = "cosmos_wht.fits"', 'weight = "cosmos_wht.fits"\npsf_fwhm = 0.19'))
    assert wide.fields["COSMOS"].mosaics["F814W"].files[0].psf_fwhm == 0.19
    for word, told in (('"ivm"', "'ivm'"), ('"variances"', "Did you mean `variance`?"), ("3", "3")):
        messages = problems(world, stated.replace("KIND", word))
        assert len(messages) == 1
        assert "[fields.COSMOS.F814W] weight_kind:" in messages[0]
        assert "expected one of inverse variance, variance, rms, exposure" in messages[0]
        assert told in messages[0]


def test_an_instrument_without_mosaic_is_refused(world):
    text = HEALTHY.replace('science = "egs_sci.fits"', 'unit = "electron/s"')
    assert any("[fields.EGS.F814W]: it names no mosaic. Add `science" in message for message in problems(world, text))


def test_a_field_may_be_measured_with_the_models_of_another(world):
    assert load(world, HEALTHY + '[fields.EGS]\nmodels = "COSMOS"\n').fields["EGS"].models == "COSMOS"


def test_a_tilde_in_a_path_is_the_users_home(world, monkeypatch):
    monkeypatch.setenv("HOME", str(world))
    text = HEALTHY.replace('store = "models"', 'store = "~/models"').replace('"egs.cat"', '"~/egs.cat"')
    workflow = load(world, text.replace('root = "catalogs/candels"', 'root = "~/out"'))
    assert workflow.models.store == world / "models"
    assert workflow.output.root == world / "out"
    assert workflow.fields["EGS"].sources.path == (world / "egs.cat",)


def test_ranges_that_touch_do_not_overlap(world):
    assert load(world, HEALTHY).routing["F814W"][1] == 1.5


def test_extensions_of_one_file_may_be_science_and_weight(world):
    text = HEALTHY.replace('"cosmos_wht.fits"', '"cosmos_sci.fits[WHT]"')
    assert load(world, text).fields["COSMOS"].mosaics["F814W"].weight == (world / "cosmos_sci.fits[WHT]",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version = 1\n[survey\n", ["candels.toml", "is not TOML", "line 2", "brackets"]),
        (b"version = 1\nname = candels\n", ["candels.toml", "is not TOML", "line 2"]),
        (b"version = 1\nversion = 1\n", ["candels.toml", "is not TOML", "line 2"]),
        (b"name = '\xff'\n", ["candels.toml", "UTF-8", "byte 8"]),
        (b"", ["candels.toml: version: is missing", "[fields]: is missing"]),
    ],
)
def test_what_is_not_a_workflow_is_reported_with_its_line(world, content, words):
    (world / "candels.toml").write_bytes(content)
    with pytest.raises(WorkflowError) as caught:
        load_workflow(world / "candels.toml")
    for word in words:
        assert word in str(caught.value)


def test_a_workflow_that_is_not_there_is_reported_with_similar_names(world):
    (world / "candels.toml").write_text(HEALTHY)
    with pytest.raises(WorkflowError, match=r"candel\.toml: does not exist.*Did you mean candels\.toml\?"):
        load_workflow(world / "candel.toml")
    with pytest.raises(WorkflowError, match="is a folder, not a file"):
        load_workflow(world)


def test_an_output_folder_that_may_not_be_written_is_reported_before_anything_starts(world, monkeypatch):
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and allowed(path, mode))
    assert problems(world, HEALTHY) == [
        f"candels.toml: [output] root: {world} may not be written to. Name a folder of your own, or ask its owner for permission."
    ]


def test_a_file_without_read_permission_is_reported(world, monkeypatch):
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "egs.cat" and allowed(path, mode))
    (message,) = problems(world, HEALTHY)
    assert message.startswith("candels.toml: [fields.EGS.sources] path:")
    assert "cannot be read: you have no permission" in message


def test_a_broken_link_is_reported(world):
    (world / "egs.cat").unlink()
    (world / "egs.cat").symlink_to(world / "gone")
    assert "is a broken link" in problems(world, HEALTHY)[0]


def test_the_resolved_workflow_loads_to_the_same_values(world, tmp_path_factory):
    workflow = load(world, HEALTHY)
    resolved = tmp_path_factory.mktemp("elsewhere") / "resolved.toml"
    resolved.write_text(to_toml(workflow), encoding="utf-8")
    assert load_workflow(resolved).model_dump() == workflow.model_dump()
    assert "min_valid_fraction = 0.5" in resolved.read_text()


texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=20).map(lambda text: f"x{text}")
paths = texts.map(lambda text: Path("/data") / text.replace("/", "|"))
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,9}", fullmatch=True).filter(lambda name: name != "sources")
columns = st.lists(texts, min_size=4, max_size=4, unique=True).map(
    lambda names: dict(zip(("id", "ra", "dec", "redshift"), names, strict=True))
)
mosaics = st.builds(MosaicSpec, science=paths, weight=st.none() | paths)
ranges = st.floats(0, 100).map(lambda low: (low, low + 1.0))


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    sources = st.builds(SourceListSpec, path=paths, columns=columns.map(lambda names: ColumnMap(**names)))
    fields = st.builds(
        lambda sources, extra: FieldInputs(sources=sources, **extra), sources, st.dictionaries(names, mosaics, min_size=1)
    )
    return Workflow.model_validate(
        {
            "version": 1,
            "survey": {"name": draw(texts), "release": "v1"},
            "output": {"root": draw(paths)},
            "models": {"store": draw(paths)},
            "sampling": {
                "draws": draw(st.integers(1, 65535)),
                "seed": draw(st.integers(0, 2**32 - 1)),
                "keep_draws": draw(st.booleans()),
            },
            "routing": draw(st.dictionaries(names, ranges, min_size=1)),
            "quality": {"min_valid_fraction": draw(st.floats(0, 1))},
            "tiling": {"core_size": draw(st.integers(256, 2**31 - 1))},
            "fields": draw(st.dictionaries(names, fields, min_size=1, max_size=3)),
        }
    )


@given(workflow=workflows())
@settings(max_examples=20)
def test_any_workflow_survives_being_written_and_read(workflow):
    assert Workflow.model_validate(tomllib.loads(to_toml(workflow))) == workflow


def test_the_workflow_for_candels_is_whole(tmp_path):
    text = (ROOT / "workflows" / "candels-v1.toml").read_text(encoding="utf-8")
    for path in _paths_in(tomllib.loads(text)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "models").mkdir()
    workflow = load(tmp_path, text)
    assert list(workflow.fields) == ["COSMOS", "EGS", "GOODS_N", "GOODS_S", "UDS"]
    assert all(list(field.mosaics) == list(workflow.routing) for field in workflow.fields.values())


def _paths_in(document: dict) -> list[str]:
    tables = [table for field in document["fields"].values() for table in field.values()]
    return [value for table in tables for value in table.values() if isinstance(value, str)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('include = "w*"', "found the text 'w*', expected a list of names of releases"),
        ("exclude = [3]", "found 3, expected a list of names of releases"),
        ('exclude = ["releases/w5"]', "a pattern is compared with the name of the release, which is not a path"),
        ('exclude = [" "]', "expected a list of names of releases"),
        ("include = []", "the list is empty, so no release would be taken"),
    ],
)
def test_patterns_of_releases_that_cannot_be_meant_are_refused(world, line, words):
    (problem,) = problems(world, f"{HEALTHY}[discovery]\n{line}\n")
    assert f"[discovery] {line.split()[0]}" in problem
    assert words in problem


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('on = ["failed"]', "command"),
        (
            'command = "tell"\non = ["fail"]',
            "found the text 'fail', expected a list of events: published, held, failed, skipped, waiting",
        ),
        ('command = "tell"\non = "failed"', "expected a list of one or more events"),
        ('command = "tell"\non = []', "expected a list of one or more events"),
        ('command = "tell \\""', "is not a command line"),
        ('command = "tell"\ntimeout_s = 0', "expected a number from 0.1"),
    ],
)
def test_a_command_that_tells_nobody_anything_is_refused(world, lines, words):
    assert words in "\n".join(problems(world, f"{HEALTHY}[notify]\n{lines}\n"))


def test_the_command_is_run_for_all_that_needs_somebody_unless_the_workflow_says_otherwise(world):
    assert load(world, HEALTHY).notify is None
    (problem,) = problems(world, HEALTHY + '[publish]\nnotify = "tell"\nnotify_timeout_s = 5\n')
    assert "Write it as `command` in a table [notify]" in problem
    assert load(world, HEALTHY + '[notify]\ncommand = "tell"\n').notify.on == ("published", "held", "failed", "skipped")
    assert load(world, HEALTHY + '[notify]\ncommand = "tell"\non = ["waiting"]\n').notify.on == (Event.WAITING,)


def test_the_reference_describes_every_key_with_its_default():
    text = (ROOT / "docs" / "reference" / "workflow.md").read_text(encoding="utf-8")
    tables = {
        "survey": Survey,
        "output": Output,
        "models": Models,
        "sampling": Sampling,
        "quality": Quality,
        "science": Science,
        "tiling": Tiling,
    }
    for heading, model in tables.items():
        section = text.partition(f"## `[{heading}]`")[2].partition("\n## ")[0]
        documented = {
            row.split("|")[1].strip(" `"): row.split("|")[3].strip() for row in section.splitlines() if row.startswith("| `")
        }
        expected = {
            name: "required" if field.is_required() else f"`{str(field.default).lower()}`"
            for name, field in model.model_fields.items()
        }
        assert documented == expected
