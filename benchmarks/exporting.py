"""The memory that ``surveyflow export`` takes, for each format and for catalogs of several sizes.

    python benchmarks/exporting.py [--rows 200000 1000000] [--formats fits votable csv parquet] [--folder DIR]

Each export is of every column and every row of a stub, as `benchmarks/browse.py` writes it, in a process of its own. A table
holds the largest memory of the process (resident, with all libraries), its processor time and the size of the file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_CHILD = """
import resource, sys, time
from pathlib import Path
import surveyflow
root, form, output = sys.argv[1:]
surveyflow.export(root, format=form, output=output, overwrite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, round(time.process_time(), 1), Path(output).stat().st_size)
"""
FORMATS = ("fits", "votable", "csv", "parquet")


def stub(folder: Path, n_rows: int) -> Path:
    """The stub of that size, which is written if it is not there."""
    spec = spec_from_file_location("browse", Path(__file__).with_name("browse.py"))
    browse = module_from_spec(spec)
    spec.loader.exec_module(browse)
    root = folder / f"rows-{n_rows}"
    if not (root / "latest").is_symlink():
        root.mkdir(parents=True)
        browse.write_stub(root, n_rows)
    return root


def measure(root: Path, form: str, output: Path) -> tuple[int, float, int]:
    """Largest memory in MB, processor time in seconds and size of the file in bytes."""
    command = [sys.executable, "-c", _CHILD, str(root), form, str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    output.unlink()
    memory, seconds, size = done.stdout.split()
    return int(memory), float(seconds), int(size)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--folder", type=Path, help="where the stubs are, or are written and kept")
    asked = parser.parse_args(arguments)
    print("| format | rows | largest memory, MB | processor, s | file, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for form in asked.formats:
            for n_rows in asked.rows:
                memory, seconds, size = measure(stub(asked.folder or Path(temporary), n_rows), form, Path(temporary, "out"))
                print(f"| {form} | {n_rows:,} | {memory} | {seconds:.1f} | {size / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
