import numpy as np

from surveyflow.tasks.registry import TASKS


def targets_of(task, columns, rms, truth):
    return TASKS[task].targets_of(columns, rms, truth)


RMS = np.array([0.001, 0.002, 0.004], np.float32)
COLUMNS = {
    "label": np.array([1, 0, 1]),
    "coverage_pct_sky_sigma": np.array([0.0, 100.0, np.nan]),
    "flux_pp_sky_sigma": np.array([0.0, 0.02, 0.04]),
    "coverage_pct_self_sigma": np.array([10.0, 0.0, 0.0]),
    "flux_pp_self_sigma": np.array([0.5, 0.0, 0.0]),
}


def test_a_post_merger_is_the_first_class_and_a_star_forming_galaxy_the_second():
    np.testing.assert_array_equal(targets_of("merger", COLUMNS, RMS, "sky_sigma"), [[1, 0], [0, 1], [1, 0]])


def test_how_much_contamination_is_unknown_where_there_is_none():
    targets = targets_of("contamination", COLUMNS, RMS, "sky_sigma")
    np.testing.assert_array_equal(targets[:, 0], [0, 1, np.nan])
    np.testing.assert_allclose(targets[:, 1], [np.nan, 1, np.nan])
    np.testing.assert_array_equal(targets[:, 2], [0, 1, 1])
    np.testing.assert_allclose(targets[:, 3], [np.nan, np.arcsinh(10), np.arcsinh(10)], rtol=1e-6)


def test_each_truth_has_targets_of_its_own():
    targets = targets_of("contamination", COLUMNS, RMS, "self_sigma")
    np.testing.assert_array_equal(targets[:, 0], [1, 0, 0])
    np.testing.assert_allclose(targets[0, 3], np.arcsinh(500), rtol=1e-6)


def test_a_gain_changes_no_target():
    louder = {name: values * (3.0 if name.startswith("flux") else 1) for name, values in COLUMNS.items()}
    targets = [targets_of("contamination", *told, "sky_sigma") for told in ((COLUMNS, RMS), (louder, 3 * RMS))]
    np.testing.assert_allclose(*targets, rtol=1e-6)
