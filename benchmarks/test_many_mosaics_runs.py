from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_the_benchmark_of_many_mosaics_runs():
    spec = spec_from_file_location("many_mosaics", Path(__file__).with_name("many_mosaics.py"))
    many_mosaics = module_from_spec(spec)
    spec.loader.exec_module(many_mosaics)
    found = many_mosaics.measure(per_side=2)
    assert found["tiles"] == 4
    assert found["first plan, most often opened"] == found["second plan, most often opened"] == 1
