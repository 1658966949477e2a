"""The build of the native core; ``python surveyflow/models/engines/native/build.py`` compiles it in place.

One source is compiled for each instruction set of the processor family; the choice between them is made at run time. The C++
library is not used, so the result depends only on libc, libm and threads.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
LIBRARY = "libsurveyflow.so"

COMPILER_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti"),
    *("-fno-threadsafe-statics", "-ffp-contract=fast", "-fno-math-errno", "-Wall", "-Wextra", "-Wno-psabi"),
)
LINKER_FLAGS = ("-shared", "-pthread", "-Wl,--as-needed", "-Wl,--no-undefined", "-static-libgcc", "-lm")

# Name, lanes of float32, flags.
_PORTABLE = ("portable", 4, ())
_X86 = (
    ("avx2", 8, ("-mavx2", "-mfma")),
    ("avx512", 16, ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512")),
)


class NotBuilt(Exception):
    """The native core could not be compiled."""


def find_compiler() -> list[str] | None:
    """``$CXX``, or else the first C++ compiler on the path; None if there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    candidates = [named] if named else [["c++"], ["g++"], ["clang++"]]
    return next((command for command in candidates if shutil.which(command[0])), None)


def build(
    target: Path,
    compiler: Sequence[str],
    extra_flags: Sequence[str] = (),
    main: Path | None = None,
    machine: str = platform.machine(),
) -> None:
    """Compile and link the core.

    Parameters
    ----------
    target
        The file to write; it is written completely or not at all.
    compiler
        The compiler's command.
    extra_flags
        Flags for compiler and linker, placed after the usual ones, which they override: sanitizers, for instance.
    main
        A C++ file with a ``main`` function, to build a program instead of a library.
    machine
        The processor family that the compiler compiles for: ``x86_64`` and others.

    Raises
    ------
    NotBuilt
        If the compiler or the linker fails; the message holds its output.
    """
    flags = [*COMPILER_FLAGS, *extra_flags]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".native-") as folder:
        commands = [[*compiler, *flags, *own, "-o", f"{folder}/{i}.o"] for i, own in enumerate(_translation_units(main, machine))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, commands))
        linker_flags = [flag for flag in LINKER_FLAGS if main is None or flag != "-shared"]
        objects = [f"{folder}/{i}.o" for i in range(len(commands))]
        _run([*compiler, *objects, *extra_flags, *linker_flags, "-o", f"{folder}/linked"])
        Path(folder, "linked").replace(target)


def source_digest(folder: Path = SOURCE) -> str:
    """SHA-256 of the sources and of this script, which holds the flags; a library reports that of its own sources.

    Parameters
    ----------
    folder
        Folder of the sources.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix in {".cpp", ".hpp"} or file.name == "build.py")
    lines = (f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _translation_units(main: Path | None, machine: str) -> Iterator[list[str]]:
    """Flags and source of each translation unit.

    The portable set comes first: if several units define a function, the linker takes the first, which every processor can run.
    """
    sets = (_PORTABLE, *_X86) if machine in {"x86_64", "AMD64"} else (_PORTABLE,)
    for name, lanes, flags in sets:
        macros = (f"-DSURVEYFLOW_ISA={name}", f"-DSURVEYFLOW_LANES={lanes}", f"-DSURVEYFLOW_KERNELS={name}_kernels")
        yield [*flags, *macros, "-c", str(SOURCE / "kernels.cpp")]
    yield [f'-DSURVEYFLOW_SOURCE_DIGEST="{source_digest()}"', "-c", str(SOURCE / "library.cpp")]
    for source in ("digests.cpp", "memory.cpp", "parallel.cpp", "rows.cpp", "stamps.cpp", "transform_size.cpp"):
        yield ["-c", str(SOURCE / source)]
    if main is not None:
        yield [f"-I{SOURCE}", "-c", str(main)]


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the compiler that was found
    if result.returncode:
        raise NotBuilt(f"{shlex.join(command)}\n{result.stderr}")


if __name__ == "__main__":
    found = find_compiler()
    if found is None:
        sys.exit("no C++ compiler found: install g++ or clang++, or set CXX to one")
    build(SOURCE / LIBRARY, found)
