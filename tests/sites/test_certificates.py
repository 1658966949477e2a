"""Who is let in to a cluster."""

from __future__ import annotations

import stat

import pytest
from distributed import LocalCluster

from fakes import FakeSettings, fake_job
from surveyflow.errors import ClusterError, OutputError
from surveyflow.sites.address.cluster import warn_if_open
from surveyflow.sites.address.profile import AddressProfile
from surveyflow.sites.certificates import security, write_certificates
from surveyflow.sites.opening import open_executor


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster") / "certificates"
    write_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def address(certificates):
    """A cluster that lets in whoever shows its certificate."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        protocol="tls",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        security=security(certificates),
        silence_logs=False,
    ) as cluster:
        yield cluster.scheduler_address


def square(profile):
    with open_executor(profile, "fakes:make_fake_worker", FakeSettings()) as executor:
        (result,) = executor.run([fake_job("nine", "square", number=9)])
    return result.value


def test_only_the_owner_can_read_what_lets_in(certificates):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [certificates, *certificates.iterdir()]}

    assert modes == {"certificates": 0o700, "certificate.pem": 0o600, "key.pem": 0o600}


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match=r"file/certificates could not be written: .* A file is in the place of a folder"):
        write_certificates(tmp_path / "file" / "certificates")


def test_every_cluster_has_a_key_of_its_own(tmp_path):
    write_certificates(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}

    write_certificates(tmp_path)

    assert all((tmp_path / name).read_text() != text for name, text in before.items())


def test_who_has_the_certificates_is_let_in(address, certificates):
    assert address.startswith("tls://")
    assert square(AddressProfile(address=address, certificates=certificates)) == 81


def test_who_has_none_is_not(address):
    with pytest.raises(ClusterError, match=r"accepts only clients with its certificates\. Name their folder"):
        square(AddressProfile(address=address, connect_timeout_s=2, open_to_all_users=True))


def test_who_does_not_encrypt_is_not(address):
    plain = address.replace("tls://", "tcp://")

    with pytest.raises(ClusterError, match="no Dask scheduler answers at tcp://"):
        square(AddressProfile(address=plain, connect_timeout_s=2, open_to_all_users=True))


def test_who_has_those_of_another_cluster_is_not(address, tmp_path):
    write_certificates(tmp_path)

    with pytest.raises(ClusterError, match="no Dask scheduler answers at tls://"):
        square(AddressProfile(address=address, certificates=tmp_path, connect_timeout_s=2))


def test_certificates_are_of_no_use_for_a_cluster_that_does_not_encrypt(certificates):
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as open_cluster,
        pytest.raises(ClusterError, match="no Dask scheduler answers at tcp://"),
    ):
        square(AddressProfile(address=open_cluster.scheduler_address, certificates=certificates, connect_timeout_s=2))


def test_a_key_that_others_can_read_is_refused(tmp_path):
    write_certificates(tmp_path)
    (tmp_path / "key.pem").chmod(0o640)

    with pytest.raises(ClusterError, match=r"key\.pem can be read by others \(mode 640\)"):
        security(tmp_path)


def test_a_folder_without_certificates_is_reported(tmp_path):
    with pytest.raises(ClusterError, match=r"key\.pem cannot be read: No such file"):
        security(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("address", "open_door"),
    [
        ("tcp://10.0.0.7:8786", True),
        ("tcp://node7:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tls://10.0.0.7:8786", False),
    ],
)
def test_a_scheduler_that_lets_everybody_in_is_reported(address, open_door, caplog):
    warn_if_open(address)

    assert [address in record.getMessage() for record in caplog.records] == [True] * open_door
