"""Build hook: a wheel or an editable installation gets the native core where there is a C++ compiler.

Without one the package installs all the same, and works with the Keras engine. ``SURVEYFLOW_NATIVE=require`` makes a missing or
failing compiler an error (for wheels that are published); ``SURVEYFLOW_NATIVE=skip`` leaves the core out.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_VARIABLE = "SURVEYFLOW_NATIVE"


class NativeCoreHook(BuildHookInterface):
    """Compiles ``surveyflow/models/native`` in place, and adds the library to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build the library, and tag the wheel for this platform and any Python."""
        wish = os.environ.get(_VARIABLE, "")
        if self.target_name != "wheel" or wish == "skip":
            return
        native = Path(self.root, "surveyflow", "models", "native")
        sys.path.insert(0, str(native))
        import build

        try:
            library = native / build.LIBRARY
            _build(build, library)
        except build.NotBuilt as error:
            if wish == "require":
                raise
            self.app.display_warning(f"The native core was not built; the Keras engine will be used. {error}")
            return
        finally:
            sys.path.remove(str(native))
        build_data["artifacts"].append(str(library.relative_to(self.root)))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _build(build: Any, library: Path) -> None:
    compiler = build.find_compiler()
    if compiler is None:
        raise build.NotBuilt("No C++ compiler was found.")
    build.build(library, compiler)
