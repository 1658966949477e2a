"""The native core compiles from its sources, depends on next to nothing, and is clean under the sanitizers."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import surveyflow

NATIVE = Path(surveyflow.__file__).parent / "models" / "native"


def load_build_script():
    spec = importlib.util.spec_from_file_location("native_build", NATIVE / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


native_build = load_build_script()
COMPILER = native_build.find_compiler()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler found")


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_networks_are_clean_under_the_sanitizers(tmp_path):
    program = tmp_path / "native_fuzz"
    # Unoptimised, it compiles in seconds; the C++ library is the test program's, not the core's.
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O0", "-g1", "-fexceptions", "-frtti"]
    try:
        native_build.build(program, COMPILER, [*flags, "-lstdc++"], main=Path(__file__).with_name("native_fuzz.cpp"))
    except native_build.NotBuilt as error:
        if re.search(r"cannot find.*san|libclang_rt", str(error)):
            pytest.skip("the compiler has no sanitizers")
        raise
    done = subprocess.run([program, "1", "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_compiler
@pytest.mark.timeout(120)
def test_the_library_needs_nothing_but_libc_and_threads(tmp_path):
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf to look into the library with")
    native_build.build(tmp_path / "core.so", COMPILER, ["-O0"])
    shown = subprocess.run([readelf, "-d", tmp_path / "core.so"], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(\w[\w-]*)\.", shown))
    assert needed <= {"libc", "libm", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}


def test_a_named_compiler_that_is_missing_is_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++ -v")
    assert native_build.find_compiler() is None


@needs_compiler
def test_a_failing_compiler_leaves_nothing_behind(tmp_path):
    with pytest.raises(native_build.NotBuilt, match="no-such-flag"):
        native_build.build(tmp_path / "core.so", [*COMPILER, "--no-such-flag"])
    assert list(tmp_path.iterdir()) == []
