from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_the_remote_benchmark_runs():
    spec = spec_from_file_location("remote", Path(__file__).with_name("remote.py"))
    remote = module_from_spec(spec)
    spec.loader.exec_module(remote)
    found = remote.measure(side=500, n_cutouts=2, n_astropy=1, delay_s=0.0)
    megabytes = {name: moved / n for name, (n, _, moved, _) in found.items()}
    assert len(found) == 3
    assert megabytes["surveyflow.cutouts"] < min(moved for name, moved in megabytes.items() if name != "surveyflow.cutouts")
