"""Build hook: a wheel or an editable installation gets the native core where there is a C++ compiler.

Without one the package installs all the same, and works with the Keras engine. ``SURVEYFLOW_NATIVE=require`` makes a missing or
failing compiler an error (for wheels that are published); ``SURVEYFLOW_NATIVE=skip`` leaves the core out. Where none is built,
one that an earlier installation left in place is removed.
"""

from __future__ import annotations

import os
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_VARIABLE = "SURVEYFLOW_NATIVE"


class NativeCoreHook(BuildHookInterface):
    """Compiles ``surveyflow/models/engines/native`` in place, and adds the library to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build the library, and tag the wheel for this platform and any Python."""
        if self.target_name != "wheel":
            return
        wish = os.environ.get(_VARIABLE, "")
        build = _build_script(Path(self.root, "surveyflow", "models", "engines", "native"))
        library = build.SOURCE / build.LIBRARY
        try:
            _build(build, library, wish)
        except build.NotBuilt as error:
            library.unlink(missing_ok=True)
            if wish == "require":
                raise
            self.app.display_warning(f"The native core was not built; the Keras engine will be used. {error}")
            return
        build_data["artifacts"].append(str(library.relative_to(Path(self.root).resolve())))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _build_script(native: Path) -> Any:
    """The module ``build.py``, which is no part of an installed package yet."""
    spec = spec_from_file_location("surveyflow_native_build", native / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(build: Any, library: Path, wish: str) -> None:
    if wish == "skip":
        raise build.NotBuilt(f"{_VARIABLE}=skip was asked for.")
    compiler = build.find_compiler()
    if compiler is None:
        raise build.NotBuilt("No C++ compiler was found.")
    build.build(library, compiler)
