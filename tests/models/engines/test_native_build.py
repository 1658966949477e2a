"""The native core compiles from its sources, depends on next to nothing, and is clean under the sanitizers."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import surveyflow

NATIVE = Path(surveyflow.__file__).parent / "models" / "engines" / "native"
HOOK = Path(__file__).parents[3] / "hatch_build.py"


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
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("sanitizers", "n_networks"), [("address,undefined", 8), ("thread", 4)])
def test_random_networks_are_clean_under_the_sanitizers(tmp_path, sanitizers, n_networks):
    program = tmp_path / "native_fuzz"
    # Unoptimised, it compiles in seconds; the C++ library is the test program's, not the core's.
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-O0", "-g1", "-fexceptions", "-frtti"]
    try:
        native_build.build(program, COMPILER, [*flags, "-lstdc++"], main=Path(__file__).with_name("native_fuzz.cpp"))
    except native_build.NotBuilt as error:
        if re.search(r"cannot find.*san|libclang_rt", str(error)):
            pytest.skip("the compiler has no sanitizers")
        raise
    done = subprocess.run([program, "1", str(n_networks)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def unoptimised_core(shared_worlds):
    def make(folder):
        native_build.build(folder / "core.so", COMPILER, ["-O0"])
        return folder / "core.so"

    return shared_worlds.get("unoptimised-core", make)


@needs_compiler
def test_the_library_needs_nothing_but_libc_and_threads(unoptimised_core):
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf to look into the library with")
    shown = subprocess.run([readelf, "-d", unoptimised_core], capture_output=True, text=True, check=True).stdout
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


@needs_compiler
def test_the_library_tells_which_sources_it_was_built_from(unoptimised_core):
    tell = ctypes.CDLL(str(unoptimised_core)).surveyflow_source_digest
    tell.restype = ctypes.c_char_p
    assert tell().decode() == native_build.source_digest()


@pytest.mark.parametrize("name", ["library.cpp", "simd.hpp", "build.py"])
def test_the_digest_changes_with_every_source_and_with_the_flags(tmp_path, name):
    sources = copied_sources(tmp_path)
    assert native_build.source_digest(sources) == native_build.source_digest()
    with (sources / name).open("a") as stream:
        stream.write("\n")
    assert native_build.source_digest(sources) != native_build.source_digest()


def test_the_digest_does_not_depend_on_what_else_lies_there(tmp_path):
    sources = copied_sources(tmp_path)
    (sources / "libsurveyflow.so").write_bytes(b"built")
    assert native_build.source_digest(sources) == native_build.source_digest()


def copied_sources(root):
    ignored = shutil.ignore_patterns("*.so", "__pycache__", ".native-*")
    return Path(shutil.copytree(NATIVE, root / "surveyflow" / "models" / "engines" / "native", ignore=ignored))


@pytest.fixture
def make_hook(monkeypatch):
    """Loads the build hook upon a stub of hatchling's interface, which is installed only while a package is built."""
    stub = ModuleType("hatchling.builders.hooks.plugin.interface")
    stub.BuildHookInterface = SimpleNamespace
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    spec = importlib.util.spec_from_file_location("hatch_build", HOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    warnings = []
    app = SimpleNamespace(display_warning=warnings.append, warnings=warnings)
    return lambda root: module.NativeCoreHook(root=str(root), target_name="wheel", app=app)


needs_checkout = pytest.mark.skipif(not HOOK.is_file(), reason="only a checkout has the build hook")


@needs_checkout
@pytest.mark.parametrize(("variable", "value"), [("SURVEYFLOW_NATIVE", "skip"), ("CXX", "/nowhere/c++"), ("CXX", "false")])
def test_an_installation_without_a_new_core_leaves_no_old_one(make_hook, monkeypatch, tmp_path, variable, value):
    monkeypatch.setenv(variable, value)
    old = copied_sources(tmp_path) / "libsurveyflow.so"
    old.write_bytes(b"an old library")
    hook, data = make_hook(tmp_path), {"artifacts": []}
    hook.initialize("standard", data)
    assert not old.exists()
    assert data == {"artifacts": []}
    assert "was not built" in hook.app.warnings[0]


@needs_checkout
def test_a_core_that_is_required_is_an_error_where_it_cannot_be_built(make_hook, monkeypatch, tmp_path):
    monkeypatch.setenv("SURVEYFLOW_NATIVE", "require")
    monkeypatch.setenv("CXX", "/nowhere/c++")
    copied_sources(tmp_path)
    with pytest.raises(Exception, match=r"No C\+\+ compiler was found"):
        make_hook(tmp_path).initialize("standard", {"artifacts": []})


@needs_checkout
def test_the_wheel_gets_the_core_and_its_platform(make_hook, monkeypatch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho built > "$2"\n')  # a compiler that is none
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.delenv("SURVEYFLOW_NATIVE", raising=False)
    library = copied_sources(tmp_path) / "libsurveyflow.so"
    data = {"artifacts": []}
    make_hook(tmp_path).initialize("standard", data)
    assert library.read_text() == "built\n"
    assert data["artifacts"] == ["surveyflow/models/engines/native/libsurveyflow.so"]
    assert data["pure_python"] is False
    assert data["tag"].startswith("py3-none-")
