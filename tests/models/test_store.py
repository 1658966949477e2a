"""A store gives back what was written into it, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from networks import KEY, SMALL, card, feature_domain, random_weights, write_small_model
from surveyflow.errors import ModelError, OutputError
from surveyflow.models.engines.choice import load_model
from surveyflow.models.engines.native_library import absence
from surveyflow.models.store import ModelStore, read_card, read_domain, read_weights, write_model, write_models, write_untrained
from surveyflow.models.weights import decode_domain, decode_weights, encode_domain, encode_weights
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.values.codes import WeightsOrigin


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


def untrained(store, key=KEY, seed=1, **changes):
    values = {
        "architecture": SMALL,
        "pixel_scale_arcsec": 0.03,
        "band": "F814W",
        "redshift_range": (0.5, 1.5),
        "stretch": Stretch.ASINH_MINMAX,
        "softening": 1.0,
        "domain": Domain("electron/s", (1e-4, 1e-2)),
        "seed": seed,
    }
    return write_untrained(store, key, **values | changes)


def test_a_model_is_read_back_as_it_was_written(store):
    written, weights = write_small_model(store.path), random_weights()
    assert store.card(KEY) == written
    assert store.folder(KEY) == store.path / "merger" / "F814W" / "EGS"
    assert store.weights(KEY).keys() == weights.keys()
    for role, values in store.weights(KEY).items():
        np.testing.assert_array_equal(values, weights[role])


def test_the_same_weights_have_the_same_digest_whatever_their_order(store):
    first = write_small_model(store.path)
    reordered = dict(reversed(random_weights().items()))
    assert write_model(store.home(KEY), card(), reordered).weights_digest == first.weights_digest


def test_all_cards_are_listed_by_key(store):
    keys = [ModelKey("contamination", "EGS", "F814W"), ModelKey("merger", "COSMOS", "F160W"), KEY]
    for key in reversed(keys):
        write_small_model(store.path, key=key)
    (store.path / "merger" / "F814W" / ".EGS.half-written").mkdir()
    (store.path / "merger" / "F814W" / ".EGS.half-written" / "card.toml").write_text("no card")
    assert list(store.cards()) == keys


def test_a_model_serves_another_field_only_if_its_card_says_so(store):
    borrower = replace(KEY, field="UVISTA")
    write_small_model(store.path)
    with pytest.raises(ModelError, match="no model merger/UVISTA/F814W; the store holds merger/EGS/F814W"):
        store.folder(borrower)
    lender = write_model(store.home(KEY), card(also_for=("UVISTA",)), random_weights(), overwrite=True)
    assert store.cards() == {KEY: lender, borrower: lender}
    assert store.folder(borrower) == store.folder(KEY)
    own = write_small_model(store.path, key=borrower)
    assert store.card(borrower) == own == store.cards()[borrower]


def test_two_models_must_not_lend_themselves_to_one_field(store):
    for field in ("EGS", "UDS"):
        write_small_model(store.path, key=replace(KEY, field=field), also_for=("UVISTA",))
    with pytest.raises(ModelError, match="merger/UDS/F814W and merger/EGS/F814W both say also_for = 'UVISTA'"):
        store.cards()


@pytest.mark.parametrize("name", ["..", "../../elsewhere", "a/b", "/etc", "", ".hidden", "x\0y"])
@pytest.mark.parametrize("part", ["task", "field", "instrument"])
def test_a_key_that_leaves_the_store_is_refused(store, name, part):
    with pytest.raises(ModelError, match="outside the store"):
        store.home(replace(KEY, **{part: name}))


def test_a_link_that_leaves_the_store_is_refused(store, tmp_path):
    write_small_model(tmp_path / "other")
    store.path.mkdir()
    (store.path / "merger").symlink_to(tmp_path / "other" / "merger")
    with pytest.raises(ModelError, match="outside the store"):
        store.card(KEY)
    with pytest.raises(ModelError, match="outside the store"):
        store.cards()


def test_a_card_in_another_models_folder_is_refused(store):
    write_small_model(store.path)
    store.folder(KEY).rename(store.home(replace(KEY, field="UDS")))
    with pytest.raises(ModelError, match=r"this is the card of merger/EGS/F814W, which belongs in .*EGS\. Move the folder"):
        store.cards()


def test_a_missing_store_is_an_error(store):
    with pytest.raises(ModelError, match="models: no such folder"):
        store.cards()


def test_damaged_weights_are_refused(store):
    written = write_small_model(store.path)
    file = store.folder(KEY) / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=rf"weights.safetensors: its SHA-256 is \w+, but the card says {written.weights_digest}"):
        store.weights(KEY)


@pytest.mark.parametrize(
    ("name", "what"),
    [("card.toml", "does not exist; the nearest folder that does is"), ("weights.safetensors", r"cannot be read \(No such file")],
)
def test_a_missing_file_is_named(store, name, what):
    write_small_model(store.path)
    folder = store.folder(KEY)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: {what}"):
        read_weights(folder, read_card(folder))


def spoiled(role, change):
    weights = random_weights()
    weights[role] = change(weights[role])
    return weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (spoiled("conv.1.kernel", lambda values: values[:3]), r"conv.1.kernel has shape \(3, 5, 4, 4\), expected \(5, 5, 4, 4\)"),
        (spoiled("dense.0.bias", lambda values: values * np.nan), "dense.0.bias holds 16 values that are not finite"),
        (spoiled("bn.2.variance", lambda values: -values), "bn.2.variance holds 6 negative values"),
        (spoiled("bn.2.mean", lambda values: values.astype(np.float64)), "bn.2.mean holds float64, expected float32"),
        (random_weights() | {"extra": np.zeros(1, np.float32)}, "extra is unknown"),
        ({}, r"conv.0.kernel is missing; .*dense.2.bias is missing"),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_is_written(store, weights, message):
    with pytest.raises(ModelError, match=message):
        write_model(store.home(KEY), card(), weights)
    assert not store.path.exists()


def test_weights_of_a_type_that_numpy_lacks_are_named_with_it():
    header = b'{"conv.0.kernel":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    with pytest.raises(ModelError, match=r"^weights holds BF16, expected float32\. Write the weights as float32\.$"):
        decode_weights(len(header).to_bytes(8, "little") + header + bytes(2), "weights")


def test_weights_that_are_not_safetensors_are_refused(store):
    write_small_model(store.path)
    content = b"\x08\0\0\0\0\0\0\0notjson!"
    (store.folder(KEY) / "weights.safetensors").write_bytes(content)
    digest = sha256(content).hexdigest()
    with pytest.raises(ModelError, match=r"weights.safetensors: not a safetensors file"):
        read_weights(store.folder(KEY), replace(store.card(KEY), weights_digest=digest))


def with_header(content, **changes):
    """A weights file with another entry in its header."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["conv.0.bias"] |= changes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda content: with_header(content, dtype="BF16"),
        lambda content: with_header(content, dtype="F8_E4M3"),
        lambda content: with_header(content, dtype="nonsense"),
        lambda content: with_header(content, shape=[2**62]),
        lambda content: with_header(content, shape=[2**32, 2**32]),
        lambda content: with_header(content, data_offsets=[0, 2**62]),
        lambda content: (2**62).to_bytes(8, "little") + content[8:],
        lambda content: content + bytes(2**21),
    ],
)
def test_weights_that_claim_what_they_do_not_hold_are_refused(store, break_it):
    untrained(store)
    file = store.home(KEY) / "weights.safetensors"
    content = break_it(file.read_bytes())
    file.write_bytes(content)
    card = replace(store.card(KEY), weights_digest=sha256(content).hexdigest())
    with pytest.raises(ModelError, match=r"weights\.safetensors: .*Import or train"):
        read_weights(store.home(KEY), card)


def with_domain(store, **changes):
    """A model with a feature domain; its card, and the file with the domain."""
    written = write_model(store.home(KEY), card(**changes), random_weights(), domain=feature_domain(), overwrite=True)
    return written, store.home(KEY) / "domain.safetensors"


def test_a_feature_domain_is_read_back_and_its_digest_is_part_of_the_card(store):
    written, file = with_domain(store)
    assert written.domain.feature_percentile == 99
    assert written.domain.features_digest == sha256(file.read_bytes()).hexdigest()
    found = read_domain(store.home(KEY), store.card(KEY))
    for name in ("axes", "centre", "whitening", "distances"):
        np.testing.assert_array_equal(getattr(found, name), getattr(feature_domain(), name))
    assert load_model(store.home(KEY), "fft" if absence() is None else "keras").domain is not None
    without = write_model(store.home(KEY), written, random_weights(), overwrite=True)
    assert (without.domain, without.model_id) == (Domain(), written.model_id)
    assert without.digest != written.digest
    assert read_domain(store.home(KEY), without) is None
    assert not file.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda good: good[:-1] + bytes([good[-1] ^ 1]), r"its SHA-256 is .*the file is damaged or was replaced"),
        (lambda _: None, r"cannot be read .*A model is a folder"),
        (lambda good: good + bytes(2**20), r"it has more than the 1,048,576 bytes"),
    ],
)
def test_a_domain_that_is_not_the_cards_is_refused(store, content, message):
    written, file = with_domain(store)
    broken = content(file.read_bytes())
    file.unlink()
    if broken is not None:
        file.write_bytes(broken)
    with pytest.raises(ModelError, match=rf"domain\.safetensors: {message}"):
        read_domain(store.home(KEY), written)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x08\0\0\0\0\0\0\0notjson!", "not a safetensors file"),
        ((2**62).to_bytes(8, "little"), "not a safetensors file"),
        (encode_weights({"centre": np.zeros(3)}), r"it holds the arrays \['centre'\], expected"),
        (encode_domain(feature_domain(replace(SMALL, dense=(8, 4)))), r"made for features and numbers \(8, 40\), .*\(16, 40\)"),
        (encode_domain(feature_domain()).replace(b'"F32"', b'"I32"', 1), "axes holds int32, expected float32"),
    ],
)
def test_content_that_is_no_domain_of_the_network_is_refused(content, message):
    with pytest.raises(ModelError, match=rf"domain: .*{message}.*Train the model again"):
        decode_domain(content, SMALL, "domain")


@pytest.mark.parametrize("target", ["/dev/zero", "nowhere", "."])
def test_weights_that_are_no_ordinary_file_are_refused_unread(store, target):
    card = untrained(store)
    file = store.home(KEY) / "weights.safetensors"
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(ModelError, match=r"weights\.safetensors: cannot be read \(it .*A model is a folder"):
        read_weights(store.home(KEY), card)


def test_writing_the_same_model_again_leaves_it_as_it_is(store):
    first = write_small_model(store.path)
    before = store.folder(KEY).stat()
    assert write_small_model(store.path) == first
    assert store.folder(KEY).stat().st_ino == before.st_ino


def test_another_model_is_replaced_only_on_demand(store):
    first = write_small_model(store.path, seed=0)
    with pytest.raises(ModelError, match="already holds another model"):
        write_small_model(store.path, seed=1)
    assert store.card(KEY) == first
    second = write_model(store.home(KEY), card(), random_weights(seed=1), overwrite=True)
    assert store.card(KEY) == second != first
    assert [path.name for path in store.folder(KEY).parent.iterdir()] == ["EGS"]


def test_an_interrupted_write_leaves_no_model_and_no_litter(store, monkeypatch):
    monkeypatch.setattr(
        "surveyflow.models.store.os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(OutputError, match=r"EGS: cannot be written \(No space left\)"):
        write_small_model(store.path)
    assert list(store.home(KEY).parent.iterdir()) == []


def fail_to_rename(monkeypatch, source_prefix):
    """Let the renaming of folders whose name begins so fail."""
    rename = Path.rename

    def fails(self, target):
        if self.name.startswith(source_prefix) and self.suffix != ".old":
            raise OSError(39, "Directory not empty")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)


def test_the_old_model_stays_if_the_new_one_cannot_take_its_place(store, monkeypatch):
    first = write_small_model(store.path, seed=0)
    fail_to_rename(monkeypatch, ".EGS.")
    with pytest.raises(OutputError, match=r"EGS: cannot be written \(Directory not empty\)"):
        write_model(store.home(KEY), card(), random_weights(seed=1), overwrite=True)
    assert store.card(KEY) == first
    store.weights(KEY)
    assert [path.name for path in store.home(KEY).parent.iterdir()] == ["EGS"]


def several(store, fields, seed):
    cards = [card(key=replace(KEY, field=field)) for field in fields]
    return [(store.home(one.key), one, random_weights(seed=seed)) for one in cards]


def test_of_several_models_none_is_written_if_one_is_in_the_way(store):
    (old,) = write_models(several(store, ["UDS"], seed=0))
    with pytest.raises(ModelError, match=r"UDS: already holds another model"):
        write_models(several(store, ["COSMOS", "UDS"], seed=1))
    assert list(store.cards().values()) == [old]
    new = write_models(several(store, ["COSMOS", "UDS"], seed=1), overwrite=True)
    assert list(store.cards().values()) == new


def test_several_models_take_their_places_only_when_all_are_on_disk(store, monkeypatch):
    old = write_models(several(store, ["COSMOS", "EGS"], seed=0))
    files = iter(range(100))

    def full_disk(descriptor):
        if next(files) == 3:
            raise OSError(28, "No space left")

    monkeypatch.setattr("surveyflow.models.store.os.fsync", full_disk)
    with pytest.raises(OutputError, match=r"EGS: cannot be written \(No space left\)"):
        write_models(several(store, ["COSMOS", "EGS"], seed=1), overwrite=True)
    assert list(store.cards().values()) == old
    assert sorted(path.name for path in store.home(KEY).parent.iterdir()) == ["COSMOS", "EGS"]


def test_an_untrained_model_says_so(store):
    written = untrained(store)
    assert written.origin is WeightsOrigin.UNTRAINED
    assert written.class_names == ("post_merger", "star_forming")
    assert "mean nothing" in written.notes
    assert "random" in written.citation
    assert untrained(store) == written
    assert untrained(store, replace(KEY, field="UDS"), seed=2).weights_digest != written.weights_digest


def test_untrained_outputs_of_another_task_are_numbered(store):
    written = untrained(store, replace(KEY, task="contamination"), architecture=replace(SMALL, n_outputs=3))
    assert written.class_names == ("output_0", "output_1", "output_2")


def test_an_untrained_contamination_model_names_its_outputs_and_their_scale(store):
    written = untrained(store, replace(KEY, task="contamination"), architecture=replace(SMALL, n_outputs=6))
    assert written.class_names == CONTAMINATION_OUTPUTS
    assert written.contamination is not None
    assert store.card(replace(KEY, task="contamination")) == written


def test_a_users_own_network_needs_nothing_but_a_card(store):
    architecture = Architecture(64, filters=(3, 5), kernel_sizes=(7, 5), dense=(10, 9, 8), dropout=0.2, n_outputs=1)
    write_small_model(store.path, architecture)
    assert store.card(KEY).architecture == architecture
    assert store.weights(KEY)["dense.3.kernel"].shape == (8, 1)


def test_the_store_does_not_import_keras():
    code = "import sys, surveyflow.models.engines.choice; sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
