"""A card says everything that must be known, or is refused with all that is wrong with it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import card
from surveyflow.errors import ModelError
from surveyflow.models.cards import card_from_toml, card_to_toml
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.calibration import Calibration
from surveyflow.tasks.card import CONTAMINATION_TRUTHS, Architecture, ContaminationScale, Domain, EvaluationFacts, NuisanceLimits
from surveyflow.values.codes import WeightsOrigin

text = st.text(st.characters(codec="utf-8"), max_size=30)
scales = st.builds(
    ContaminationScale, st.sampled_from(CONTAMINATION_TRUTHS), st.floats(1, 20), st.floats(0.1, 1), st.floats(0.1, 9)
)


def calibration(a=1.1, c=-0.1, members=("0123456789abcdef" * 4,)):
    return Calibration(members, a=a, b=0.9, c=c, share=0.5, n_images=4000, records=("ab" * 32,))


cards = st.builds(
    card,
    citation=text,
    notes=text,
    band=text,
    softening=st.floats(1e-9, 1e9),
    pixel_scale_arcsec=st.floats(1e-3, 10),
    redshift_range=st.tuples(st.floats(0, 1), st.floats(1.5, 9)),
    stretch=st.sampled_from(Stretch),
    origin=st.sampled_from(WeightsOrigin),
    domain=st.builds(
        Domain,
        st.none() | text,
        st.none() | st.just((1e-4, 2.5e-3)),
        st.none() | st.just((-0.5, 2.5)),
        st.none() | st.just(0.2),
        noise_correlation=st.none() | st.just((0.1, 0.8)),
        window_snr=st.none() | st.just((60.0, 4000.0)),
        edge_light_fraction=st.none() | st.just(0.2),
        psf_fwhm_arcsec=st.none() | st.just((0.1, 0.1)),
    ),
    also_for=st.sampled_from([(), ("COSMOS", "UDS")]),
    contamination=st.none() | scales,
    evaluation=st.none()
    | st.builds(
        EvaluationFacts,
        st.just("merger/A/B@c"),
        st.just(("ab" * 32,)),
        st.integers(1, 9),
        st.just("auc"),
        st.floats(0, 1),
        st.none() | st.floats(0, 1),
    ),
    nuisances=st.sampled_from(
        [
            (),
            (NuisanceLimits("sky", (-1.0, 5.0), (0.001, -0.02), (0.0, 1.0), (True, False)),),
            (NuisanceLimits("depth", (1.5,), (0.03,), (1.0,), (True,), "sky_rms", (1e-4, 1e-3)),),
        ]
    ),
    calibrations=st.just(()) | st.builds(lambda *numbers: (calibration(*numbers),), st.floats(0.1, 9), st.floats(-9, 9)),
)


@given(cards)
def test_a_card_survives_its_file(original):
    assert card_from_toml(card_to_toml(original), "card.toml") == original


def changed(old, new):
    toml = card_to_toml(card())
    assert old in toml
    return toml.replace(old, new)


PAGE = r".*docs/reference/models\.md"


TRAINED = """[training]
records = []
validation_records = []
n_images = {}
n_validation = 5
positive = {}
validation_positive = {}
score = "accuracy"
reached = 0.8
constant = 0.5
error = 0.01
"""


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (changed("[images]", "[images"), r"card\.toml: is not TOML: .*line.*Correct that line"),
        (changed("version = 1", "version = 2"), r"card\.toml: version: found 2, expected 1\. Write `version = 1`"),
        (changed("softening = 1.0\n", ""), r"card\.toml: \[images\] softening: is missing\. Add `softening = 1\.0`"),
        (changed("dropout = 0.5\n", ""), r"card\.toml: \[architecture\] dropout: is missing\. Add `dropout = 0\.5`"),
        (changed("stretch =", "strech ="), r"\[images\] strech: is not a key that surveyflow knows\. Did you mean `stretch`\?"),
        (changed("[domain]", "[domian]"), r"card\.toml: \[domian\]: is not a table that .*\. Did you mean `domain`\?"),
        (
            changed('"asinh_minmax"', '"sqrt"'),
            r"\[images\] stretch: found the text 'sqrt', expected one of asinh_minmax, .*Write",
        ),
        (
            changed("scale_arcsec = 0.03", 'scale_arcsec = "0.03"'),
            r"\[images\] pixel_scale_arcsec: found .* '0\.03', .*number.*Write",
        ),
        (changed("scale_arcsec = 0.03", "scale_arcsec = -0.03"), rf"card\.toml: pixel_scale_arcsec must lie between{PAGE}"),
        (changed("scale_arcsec = 0.03", "scale_arcsec = nan"), rf"pixel_scale_arcsec must lie between{PAGE}"),
        (changed("[domain]", "[domain]\nsky_sigma = [1.0, 1.0]"), rf"sky_sigma must be a range{PAGE}"),
        (changed("[domain]", "[domain]\nnoise_correlation = [0.1, 1.1]"), rf"noise_correlation must be a range{PAGE}"),
        (changed("[domain]", "[domain]\npsf_fwhm_arcsec = [0.0, 0.1]"), rf"psf_fwhm_arcsec must be a range{PAGE}"),
        (changed("[domain]", "[domain]\nwindow_snr = [2.0, 1.0]"), rf"window_snr must be a range{PAGE}"),
        (changed("[domain]", "[domain]\nedge_light_fraction = 0.0"), rf"edge_light_fraction must lie between 0 and 1{PAGE}"),
        (changed("[domain]", "[domain]\nedge_light_fraction = nan"), rf"edge_light_fraction must lie between 0 and 1{PAGE}"),
        (changed("[domain]", "[domain]\nedge_light_fraction = 1.0"), rf"edge_light_fraction must lie between 0 and 1{PAGE}"),
        (changed("[domain]", "[domain]\nsky_rms = [0.1, 1e300]"), rf"sky_rms must be a range{PAGE}"),
        (changed("[domain]", "[domain]\nwindow_snr = [-1e300, 1.0]"), rf"window_snr must be a range{PAGE}"),
        (changed("[domain]", f"{TRAINED.format(10, 10, 5)}[domain]"), rf"positive must lie .* not 10 of 10{PAGE}"),
        (changed("[domain]", f"{TRAINED.format(10, 0, 5)}[domain]"), rf"positive must lie .* not 0 of 10{PAGE}"),
        (changed("[domain]", f"{TRAINED.format(10, 5, 6)}[domain]"), rf"validation_positive must lie .* not 6 of 5{PAGE}"),
        (changed("[domain]", "[domain]\noffset_arcsec = 0.0"), rf"offset_arcsec must be a number above 0{PAGE}"),
        (changed("[domain]", "[domain]\nfeature_percentile = 100.0"), rf"feature_percentile must lie between 0 and 100{PAGE}"),
        (changed("[domain]", "[domain]\nfeature_percentile = 99.0"), rf"must be stated together{PAGE}"),
        (changed("[domain]", '[domain]\nfeatures_digest = "ab"'), r"\[domain\] features_digest: found"),
        (changed("[0.5, 1.5]", "[1.5, 0.5]"), rf"redshift_range must be \[low, high\){PAGE}"),
        (changed("[0.5, 1.5]", "[0.5]"), r"\[images\] redshift_range: found the list \[0\.5\], expected two numbers.*Write"),
        (changed('field = "EGS"', 'field = "../EGS"'), r"\[model\] field: found the text '\.\./EGS', expected a name of .*Write"),
        (changed('"class_1"', '"class_0"'), rf"must name each of the 2 outputs once{PAGE}"),
        (changed("n_outputs = 2", "n_outputs = 3"), rf"must name each of the 3 outputs once{PAGE}"),
        (changed("kernel_sizes = [5, 3, 3]", "kernel_sizes = [4, 3, 3]"), rf"\[architecture\]: kernel sizes must be odd{PAGE}"),
        (changed("input_size = 48", "input_size = 20"), rf"\[architecture\]: .*too small for kernels{PAGE}"),
        (
            changed("0123456789abcdef" * 4, "0123"),
            rf"\[model\] weights_digest: found the text '0123', .*64 digits{PAGE}",
        ),
        (changed("version = 1", "version = 2024-01-01"), r"version: found the date 2024-01-01, expected a whole number\. Write"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(toml, message):
    with pytest.raises(ModelError, match=f"(?s){message}"):
        card_from_toml(toml, "card.toml")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        *(("batch_norm_epsilon = 0.001", number) for number in ("-1.0", "nan", "inf", "0.0", "1e308")),
        *(("softening = 1.0", number) for number in ("nan", "inf", "1e-320", "1e300", "-1.0")),
        *(("pixel_scale_arcsec = 0.03", number) for number in ("inf", "1e308", "1e-320")),
        *(("dropout = 0.5", number) for number in ("nan", "1.0", "-0.1")),
        *(("input_size = 48", number) for number in ("1000000", "9223372036854775807", "-1")),
        ("redshift_range = [0.5, 1.5]", "[0.5, inf]"),
        ("redshift_range = [0.5, 1.5]", "[nan, 1.5]"),
        ("filters = [4, 6, 8]", "[4, 6, 4611686018427387904]"),
        ("filters = [4, 6, 8]", "[4, 60000, 60000]"),
        ("dense = [16, 12]", f"[{'16, ' * 40}]"),
    ],
)
def test_every_number_of_a_card_is_bounded(line, number):
    with pytest.raises(ModelError, match=r"^card\.toml"):
        card_from_toml(changed(line, f"{line.partition(' = ')[0]} = {number}"), "card.toml")


SCALE = ContaminationScale("sky_sigma", flux_range=8.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flux_range =", "flux_rnage =", r"\[contamination\] flux_rnage: is not a key .*\. Did you mean `flux_range`\?"),
        ("scatter_limit = 0.5\n", "", r"\[contamination\] scatter_limit: is missing\. Add `scatter_limit = 0\.5`"),
        ('"sky_sigma"', '"two_sigma"', rf"truth must be one of sky_sigma, self_sigma, not 'two_sigma'{PAGE}"),
        ("flux_range = 8.0", "flux_range = -8.0", rf"flux_range must lie in \(0, 50\]{PAGE}"),
    ],
)
def test_what_is_wrong_with_the_scale_of_contamination_is_named(old, new, message):
    toml = card_to_toml(card(contamination=SCALE))
    assert old in toml
    with pytest.raises(ModelError, match=f"(?s){message}"):
        card_from_toml(toml.replace(old, new), "card.toml")


def test_the_scale_of_contamination_is_part_of_a_cards_digest():
    digests = {card(contamination=scale).digest for scale in (None, SCALE, replace(SCALE, interval_scale_flux_pp=1.1))}
    assert len(digests) == 3


def test_all_problems_are_reported_at_once():
    toml = changed("softening = 1.0\n", "").replace("band =", "bnad =").replace('"asinh_minmax"', "3")
    with pytest.raises(ModelError) as caught:
        card_from_toml(toml, "card.toml")
    assert len(str(caught.value).splitlines()) == 4
    assert re.findall(r"\] (\w+):", str(caught.value)) == ["bnad", "stretch", "band", "softening"]


def test_the_reference_names_every_key():
    reference = (Path(__file__).parents[2] / "docs/reference/models.md").read_text()
    for table in tomllib.loads(
        card_to_toml(card(Architecture(), domain=Domain("electron/s", (0.1, 0.2)), contamination=SCALE))
    ).values():
        for key in table if isinstance(table, dict) else ():
            assert f"`{key}`" in reference
