"""The certificates by which client, scheduler and workers of one cluster identify each other.

An open scheduler runs whatever it is sent, for every user of the machine. So each cluster gets a key and a certificate of its
own, in a folder that only its owner can read, and accepts no connection without them.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from surveyflow.errors import ClusterError
from surveyflow.files.durable import explained

if TYPE_CHECKING:
    from distributed import Security

CERTIFICATE, KEY = "certificate.pem", "key.pem"
ROLES = ("scheduler", "worker", "client")


def write_certificates(folder: Path) -> None:
    """Make a new key and certificate, in place of any that are there.

    Parameters
    ----------
    folder
        The folder; it is made if absent, and afterwards only its owner can read it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from distributed import Security

    made = Security.temporary()
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name, text in ((CERTIFICATE, made.tls_scheduler_cert), (KEY, made.tls_scheduler_key)):
            (folder / name).unlink(missing_ok=True)
            with open(folder / name, "x", opener=_private, encoding="ascii") as stream:
                stream.write(text)


def security(folder: Path) -> Security:
    """Read the key and certificate of a cluster, for any of its roles.

    Raises
    ------
    ClusterError
        If the folder lacks them, or others can read the key.
    """
    from distributed import Security

    _check_private(folder / KEY)
    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    certificates = {f"tls_{role}_cert": certificate for role in ROLES}
    keys = {f"tls_{role}_key": key for role in ROLES}
    return Security(require_encryption=True, tls_ca_file=certificate, **certificates, **keys)


def dask_environment(folder: PurePath) -> dict[str, str]:
    """The variables by which Dask's programs find key and certificate, and refuse to connect without; none is secret."""
    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    variables = {"CA_FILE": certificate}
    for role in ROLES:
        variables |= {f"{role.upper()}__CERT": certificate, f"{role.upper()}__KEY": key}
    prefix = "DASK_DISTRIBUTED__COMM"
    return {f"{prefix}__REQUIRE_ENCRYPTION": "True"} | {f"{prefix}__TLS__{name}": value for name, value in variables.items()}


def is_closed(address: str) -> bool:
    """Whether a scheduler or worker at an address (``tls://host:port``) accepts only holders of its certificates."""
    return address.startswith("tls://")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _check_private(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise ClusterError(
            f"{key} cannot be read: {error.strerror}. Name the folder of the cluster's certificate.pem and key.pem."
        ) from error
    if mode & 0o077:
        raise ClusterError(
            f"{key} can be read by others (mode {mode & 0o777:03o}). Make a new key: others may have copied this one."
        )
