"""Environments into which wheels were installed, with nothing of the checkout in them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from surveyflow.values.remedies import DISTRIBUTION, NAMESAKE

REPOSITORY = Path(__file__).parents[1]


def build_distributions(folder: Path) -> Path:
    """Build the source distribution, and from it a wheel without the native core; return the folder that holds both."""
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run([*build, "--target", "sdist"], cwd=REPOSITORY, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    unpacked = folder / archive.name.removesuffix(".tar.gz")
    environment = os.environ | {"SURVEYFLOW_NATIVE": "skip"}
    subprocess.run([*build, "--target", "wheel"], cwd=unpacked, env=environment, check=True, capture_output=True)
    return folder


@dataclass(frozen=True)
class Installation:
    """A virtual environment of its own that also sees the packages of this one, as if they had been installed there.

    Parameters
    ----------
    folder
        The environment.
    distributions
        Where its pip looks for packages: nowhere else.
    """

    folder: Path
    distributions: Path

    @property
    def package(self) -> Path:
        """Folder of the installed package."""
        return self.site_packages / "surveyflow"

    @property
    def site_packages(self) -> Path:
        """Folder of the environment's own packages."""
        return self.folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"

    def run(self, command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a shell of this environment does."""
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.distributions),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        return subprocess.run(
            command, shell=True, cwd=cwd, env=environment | variables, capture_output=True, text=True, check=False
        )


def install_from_wheel(folder: Path, distributions: Path) -> Installation:
    """Make an environment, and install the package from its wheel by name."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = Installation(folder, distributions)
    (made.site_packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, module in (("pip", "pip._internal.cli.main"), ("dask", "dask.__main__")):
        script = folder / "bin" / name
        script.write_text(f"#!{folder / 'bin' / 'python'}\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        script.chmod(0o755)
    done = made.run(f"pip install --ignore-installed --no-deps {DISTRIBUTION}", folder)
    assert done.returncode == 0, done.stderr
    return made


def write_namesake(folder: Path) -> Path:
    """Write a wheel that stands in for the other project's package: the same names, none of its code."""
    info = f"{NAMESAKE}-0.8.0.dist-info"
    files = {
        "surveyflow/__init__.py": '"""A stand-in for another project\'s package."""\n__version__ = "0.8.0"\n',
        "surveyflow/pipeline.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAMESAKE}\nVersion: 0.8.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
    wheel = folder / f"{NAMESAKE}-0.8.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(name, text)
    return wheel


def _digest(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
