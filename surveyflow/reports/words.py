"""What a catalog's codes mean, in a reader's words."""

from __future__ import annotations

from collections.abc import Collection

from surveyflow.values.codes import Flag, Status, WeightsOrigin

STATUS_MEANINGS = {
    Status.OK: "a result was computed",
    Status.NO_REDSHIFT: "the redshift is missing",
    Status.NO_MODEL: "the redshift lies outside every range, or the store holds no model for field and instrument",
    Status.OFF_MOSAIC: "the centre's pixel lies outside the image",
    Status.NO_COVERAGE: "the centre's pixel holds no data",
    Status.BAD_PIXELS: "too few pixels of the cutout hold data",
    Status.FAILED: "the work unit failed; running again retries it",
}

FLAG_MEANINGS = {
    Flag.EDGE: "The cutout reaches beyond the mosaic's edge; what is missing was filled with 0.",
    Flag.PARTIAL_COVERAGE: "Some pixels inside the cutout hold no data.",
    Flag.OUT_OF_DOMAIN: "At least one of the domain flags below is set: the model was not trained on images like this one.",
    Flag.UNIT_DOMAIN: "The mosaic's unit is not that of the training images, or nothing says what it is.",
    Flag.NOISE_DOMAIN: "The cutout's sky rms lies outside the range of the training images.",
    Flag.REDSHIFT_DOMAIN: "The redshift lies outside the range of the model's card.",
    Flag.CONSTANT_IMAGE: "The prepared image is all 0: its valid pixels are equal, or lie below a logarithm's softening.",
    Flag.BAND_DOMAIN: "The mosaic's filter is not that of the training images.",
    Flag.NO_MOSAIC: "The workflow names no mosaic of this instrument in this field.",
}

ORIGIN_MEANINGS = {
    WeightsOrigin.FERREIRA2022: (
        "Ferreira+22: the authors' weights, known by their files' digests or, if the notes say so, on the importer's word"
    ),
    WeightsOrigin.SIMULATED: "trained on surveyflow's own simulations",
    WeightsOrigin.USER: "trained by the user",
    WeightsOrigin.UNTRAINED: "untrained: fixed random numbers",
}

_WARNINGS = {
    WeightsOrigin.UNTRAINED: "These numbers come from untrained random weights: they mean nothing scientifically.",
    WeightsOrigin.SIMULATED: (
        "These numbers come from weights trained on surveyflow's own simulations, not on the training set of a published "
        "paper: do not quote them as measurements of real galaxies."
    ),
}


_CONTAMINATION_WARNINGS = {
    WeightsOrigin.UNTRAINED: "The contamination comes from untrained random weights: it means nothing scientifically.",
    WeightsOrigin.SIMULATED: (
        "The contamination comes from weights trained on surveyflow's own simulations: do not quote it as a measurement of real "
        "galaxies."
    ),
}


def warnings_about(origins: Collection[str], contamination: Collection[str] = ()) -> list[str]:
    """Tell what a reader must know before believing any number, the gravest first; empty where nothing forbids it.

    Parameters
    ----------
    origins
        Where the weights of the merger models came from.
    contamination
        Where those of the contamination models came from; what the warnings about mergers say already is not said again.
    """
    news = [origin for origin in contamination if origin not in origins]
    told = ((_WARNINGS, origins), (_CONTAMINATION_WARNINGS, news))
    return [text for texts, found in told for origin, text in texts.items() if origin in found]
