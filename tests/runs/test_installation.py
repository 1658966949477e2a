import pytest

from surveyflow.runs import doctor
from surveyflow.runs.installation import namesake_problem


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution on the path: its metadata, and empty files, since Python 3.12 leaves out those that are not there."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, version, files, origin=None):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
        for file in files:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        if origin:
            (info / "direct_url.json").write_text(f'{{"url": "{origin}", "dir_info": {{}}}}')

    return write


@pytest.fixture(autouse=True)
def without_framework(monkeypatch):
    """TensorFlow takes seconds to import, and plays no part here."""
    monkeypatch.setattr(doctor, "find_framework", lambda: "not asked")


def test_doctor_finds_no_fault_with_this_installation():
    assert namesake_problem() is None
    for checks in (doctor.check_this_machine().checks, doctor.look_at_worker().checks):
        assert {check.name: check.good for check in checks}["installation"]


def test_another_projects_package_is_a_fault_here_and_on_workers(install, tmp_path):
    install("surveyflow", "0.8.0", ["surveyflow/__init__.py"])
    for checks in (doctor.check_this_machine().checks, doctor.look_at_worker().checks):
        (found,) = [check for check in checks if check.name == "installation"]
        assert not found.good
        assert f"surveyflow 0.8.0, is installed in {tmp_path / 'surveyflow'}. It shares" in found.found


def test_the_remedy_installs_a_checkout_again_from_where_it_came(install):
    install("surveyflow", "0.8.0", ["surveyflow/__init__.py"])
    install("surveyflow_mergers", "0.1.0", ["surveyflow/__init__.py"], origin="file:///project/a%20checkout")

    assert "--no-deps file:///project/a%20checkout`" in str(namesake_problem())


def test_a_distribution_of_that_name_without_the_package_does_no_harm(install):
    install("surveyflow", "0.1.0", ["_surveyflow.pth"])

    assert namesake_problem() is None
