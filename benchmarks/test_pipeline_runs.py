from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_benchmark_of_the_pipeline_runs(tmp_path, capsys):
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    from training_sets import write_training

    write_training(tmp_path)
    spec = spec_from_file_location("pipeline", Path(__file__).with_name("pipeline.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.main([str(tmp_path / "train.toml"), "--batches", "2", "--repeats", "1"])
    told = {line[:24].strip(): float(line[24:34]) for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(told) == {"read and prepared once", "from memory", "from disk", "training step"}
    assert min(told.values()) > 0
