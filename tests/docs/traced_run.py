"""Print the modules that a source enters on its way from the source list to its catalog row: traced_run.py WORKFLOW.

A module counts when one of its functions is really called, by the thread that runs the serial profile or by the one that cuts
ahead, within one of the steps below. What a run does around them (lock, progress, report, publishing) is not the source's way.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import surveyflow

ROOT = Path(surveyflow.__file__).parent
STEPS = {
    "inputs.source_lists": ("read_source_list",),
    "planning.units": ("locate_sources", "units_of_field"),
    "inputs.mosaics": ("digests",),
    "planning.plan": ("key_parts", "decide"),
    "output.units": ("write_worklist",),
    "measuring.worker": ("do",),
}
BESIDE = ("measuring.worker", "_task")
"""Publishing, which the same worker does."""
SIDE_THREADS = ("cut",)

entered: dict[str, str] = {}
inside: Counter[int] = Counter()
beside: Counter[int] = Counter()
_modules: dict[str, str | None] = {}


def module_of(path: str) -> str | None:
    if path not in _modules:
        file = Path(path)
        _modules[path] = ".".join(file.relative_to(ROOT).with_suffix("").parts) if file.is_relative_to(ROOT) else None
    return _modules[path]


def trace(frame: FrameType, event: str, argument: Any) -> None:
    module, function = module_of(frame.f_code.co_filename), frame.f_code.co_name
    if module is None or event not in ("call", "return"):
        return
    thread = threading.get_ident()
    is_step = function in STEPS.get(module, ())
    inside[thread] += is_step and event == "call"
    side = threading.current_thread().name.startswith(SIDE_THREADS)
    beside[thread] += ((module, function) == BESIDE) * (1 if event == "call" else -1)
    if event == "call" and function != "<module>" and (inside[thread] or side) and not beside[thread]:
        entered.setdefault(module, function)
    inside[thread] -= is_step and event == "return"


def main() -> None:
    workflow = sys.argv[1]
    for module, functions in STEPS.items():
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
        for function in functions:
            assert f"def {function}(" in source, f"{module} has no {function}: correct STEPS"
    threading.setprofile(trace)
    sys.setprofile(trace)
    surveyflow.run(workflow, profile="serial", engine="fft")
    sys.setprofile(None)
    print("\n".join(entered))


if __name__ == "__main__":
    main()
