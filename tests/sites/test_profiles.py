from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from surveyflow.errors import ProfileError
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.local_gpu.profile import LocalGpuProfile
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.serial.profile import SerialProfile

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "site.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_serial_local_and_local_gpu_need_no_file():
    assert load_profile("local-gpu") == LocalGpuProfile()
    assert load_profile("serial") == SerialProfile()
    assert load_profile("local") == LocalProfile()


def test_a_file_says_what_differs_from_the_defaults(write):
    path = write('kind = "local"\nworkers = 4\nmemory = "6 GiB"\nworker_wait_s = 5\n')

    assert load_profile(path) == LocalProfile(workers=4, memory=6 * 2**30, worker_wait_s=5.0)


def test_paths_are_relative_to_the_profile(write, monkeypatch):
    path = write('kind = "address"\nscheduler_file = "run/scheduler.json"\nopen_to_all_users = true\n')
    monkeypatch.chdir("/")

    assert load_profile(path).scheduler_file == path.parent / "run/scheduler.json"


def test_a_tilde_is_the_users_home(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert load_profile(write('kind = "local"\nscratch = "~/scratch"\n')).scratch == tmp_path / "home/scratch"


def test_a_profile_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_profile("local").workers = 3


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "surveyflow/sites").glob("*/profile.toml")), ids=lambda path: path.parent.name
)
def test_every_profile_that_users_are_given_loads(path):
    assert load_profile(path).kind == path.parent.name.replace("_", "-")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "local"\nworker = 3\n', "worker: is not a key that surveyflow knows. Did you mean `workers`?"),
        (
            'kind = "address"\naddress = "tcp://h:1"\nopen_to_all_users = true\nworkers = 3\n',
            "workers: is not a key that surveyflow knows.",
        ),
        (
            'kind = "locaal"\n',
            "kind: found the text 'locaal', expected one of serial, local, local-gpu, ",
        ),
        ('kind = "locaal"\n', "Did you mean `local`?"),
        ("workers = 3\n", 'kind: is missing. Add `kind = "serial"`.'),
        ('kind = "local"\nworkers = "many"\n', "workers: found the text 'many', expected a whole number."),
        ('kind = "local"\nworkers = true\n', "workers: found true, expected a whole number."),
        ('kind = "local"\nworkers = 0\n', "workers: found 0, expected a number of 1 or more."),
        ('kind = "local"\nmemory = "plenty"\n', "memory: found the text 'plenty', expected an amount of memory such as '4 GiB'."),
        (
            'kind = "local"\nmax_deaths = 1\n',
            "max_deaths: found 1, expected a number of 2 or more. Write",
        ),
        ('kind = "local"\nworker_wait_s = inf\n', "worker_wait_s: found inf, expected a finite number."),
        ('kind = "local-gpu"\ngpus = []\n', "gpus: found the list [], expected 1 or more entries."),
        ('kind = "local-gpu"\nworkers = 2\n', "workers: is not a key that surveyflow knows."),
        ('kind = "address"\n', "give either address or scheduler_file"),
        ('kind = "address"\naddress = "tcp://h:1"\nscheduler_file = "s.json"\n', "give either address or scheduler_file"),
        (
            'kind = "address"\naddress = "tcp://h:1"\n',
            "or, where nobody else has access to its machines, write open_to_all",
        ),
        (
            'kind = "address"\naddress = "tcp://h:1"\nopen_to_all_users = true\ncertificates = "c"\n',
            "give either certificates or open_to_all_users",
        ),
        (
            'kind = "local-gpu"\ntls = false\n',
            "tls: found false: without encryption, whoever reaches the",
        ),
        ('kind = "local\n', "is not TOML"),
    ],
)
def test_a_broken_profile_says_what_is_wrong_and_where(write, text, said):
    path = write(text)

    with pytest.raises(ProfileError) as caught:
        load_profile(path)

    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_problems_are_reported_at_once(write):
    with pytest.raises(ProfileError) as caught:
        load_profile(write('kind = "local"\nworker = 3\nmax_deaths = 1\ndashbord = "x"\n'))

    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_profile_is_reported_with_the_nearest_name():
    with pytest.raises(ProfileError, match=r"there is no profile locl\. Did you mean `local`\?"):
        load_profile("locl")


def test_a_folder_is_no_profile(tmp_path):
    with pytest.raises(ProfileError, match="is a folder, not a file"):
        load_profile(tmp_path)
