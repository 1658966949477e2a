"""What Kubernetes is given is text that depends on nothing but profile and workflow."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import dask
import dask.config
import kubernetes_validate
import pytest
import yaml

from fakes import FakeSettings
from surveyflow.errors import ClusterError, ProfileError
from surveyflow.execution.routing import Routing
from surveyflow.runs.render_jobs import render_jobs
from surveyflow.sites.kind import RunCommand
from surveyflow.sites.kubernetes.jobs import _DRIVER_SCRIPT, manifests, render_manifests, resource_name
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import load_profile
from waiting import wait_until

SITE = Path(__file__).parents[3] / "surveyflow" / "sites" / "kubernetes" / "profile.toml"
GOLDEN = Path(__file__).parent / "golden" / "kubernetes.yaml"
RUN = RunCommand(PurePosixPath("/data/candels/workflow.toml"), "candels-v1.0")


def site(tmp_path, changes=()):
    """The profile that users are given, with words replaced."""
    text = SITE.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "site.toml"
    path.write_text(text)
    return load_profile(path)


def containers(found):
    job, *groups = found[1:]
    cluster = job["spec"]["cluster"]["spec"]
    pods = [job["spec"]["job"]["spec"], cluster["scheduler"]["spec"], cluster["worker"]["spec"]]
    pods += [group["spec"]["worker"]["spec"] for group in groups]
    return {
        f"{number} {container['name']}": (pod, container) for number, pod in enumerate(pods) for container in pod["containers"]
    }


def test_rendered_manifests_are_the_golden_ones():
    assert render_manifests(load_profile(SITE), RUN) == GOLDEN.read_text()


def test_what_is_written_is_read_back_the_same():
    assert list(yaml.safe_load_all(render_manifests(load_profile(SITE), RUN))) == manifests(load_profile(SITE), RUN)


def test_the_driver_finds_the_service_that_the_operator_makes(tmp_path):
    """The operator calls it after the job, with ``-scheduler`` at the end."""
    config, job, group = manifests(load_profile(SITE), RUN)
    (tmp_path / "driver.toml").write_text(config["data"]["driver.toml"])
    with dask.config.set({"distributed.comm.require-encryption": True}):  # as the driver's environment does
        driver = load_profile(tmp_path / "driver.toml")
    assert driver.address == f"tls://{job['metadata']['name']}-scheduler:8786"
    assert group["spec"]["cluster"] == job["metadata"]["name"]
    assert job["spec"]["cluster"]["spec"]["scheduler"]["service"]["ports"][0]["port"] == 8786


def test_every_pod_runs_as_nobody_special_and_mounts_only_what_it_has():
    for pod, container in containers(manifests(load_profile(SITE), RUN)).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        names = [entry["name"] for entry in container["env"]]
        assert len(names) == len(set(names))


def test_kubernetes_knows_every_key_of_pods_and_services():
    config, job, _ = manifests(load_profile(SITE), RUN)
    service = job["spec"]["cluster"]["spec"]["scheduler"]["service"]
    pods = [pod for pod, _ in containers(manifests(load_profile(SITE), RUN)).values()]
    assert len(pods) == 4
    stated = [config, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": service}]
    stated += [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod} for pod in pods]
    for document in stated:
        kubernetes_validate.validate(document, "1.30", strict=True)
    pods[0]["containres"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(stated[2], "1.30", strict=True)


def test_a_pool_with_gpus_asks_for_one_and_the_other_for_none():
    found = containers(manifests(load_profile(SITE), RUN))
    assert found["2 worker"][1]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in found["3 worker"][1]["resources"]["limits"]
    assert found["2 worker"][0]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_a_pool_that_names_models_declares_them_and_routing_reaches_the_driver(tmp_path):
    lines = [('memory = "32 GiB"\n', 'memory = "32 GiB"\nmodels = ["EGS/F814W", "GOODS N/F814W"]\n')]
    lines += [('memory = "8 GiB"\n', 'memory = "8 GiB"\nmodels = ["EGS/F125W_F160W"]\n')]
    text = SITE.read_text()
    pools = text.index("[pools.gpu]")
    for old, new in lines:
        text = text[:pools] + text[pools:].replace(old, new)
    path = tmp_path / "site.toml"
    path.write_text(text + "\n")
    config, job, group = manifests(load_profile(path), RUN)
    workers = [job["spec"]["cluster"]["spec"]["worker"], group["spec"]["worker"]]
    told = [worker["spec"]["containers"][0]["args"][-1] for worker in workers]
    assert told == ["model:EGS/F814W=2,model:GOODS%20N/F814W=2", "model:EGS/F125W_F160W=2"]
    (tmp_path / "driver.toml").write_text(config["data"]["driver.toml"])
    with dask.config.set({"distributed.comm.require-encryption": True}):  # as the environment of the driver's pod says
        assert load_profile(tmp_path / "driver.toml").routing is Routing.PINNED


def test_dashboards_listen_on_the_loopback_of_their_pods():
    for name, (_, container) in containers(manifests(load_profile(SITE), RUN)).items():
        if "job" not in name:
            where = container["args"][container["args"].index("--dashboard-address") + 1]
            assert where.startswith("127.0.0.1:")


def test_manifests_hold_no_secret_but_say_where_it_is():
    text = render_manifests(load_profile(SITE), RUN)
    assert "PRIVATE KEY" not in text
    assert "secretName: surveyflow-certificates" in text


def test_pods_without_encryption_are_refused(tmp_path):
    with pytest.raises(ProfileError, match=r"tls: found false: without encryption, .* Remove the key"):
        site(tmp_path, [("# certificates = ", "tls = false\n# ")])


@pytest.mark.parametrize("name", ["candels-v1.0", "A very long name of a survey with many words and a release v1.0-r2", "..."])
def test_names_are_what_kubernetes_takes(name):
    made = resource_name(RunCommand(RUN.workflow, name))
    assert len(made) <= 40
    assert made == made.lower()
    assert all(letter.isalnum() or letter == "-" for letter in made)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("gpus = 1", "gpus = 2", "[pools.gpu] gpus: found 2, expected a number of 1 or less"),
        ('claim = "candels"', 'claim = "My Claim"', "[volume] claim"),
        ('path = "/data/candels"', 'path = "data"', "from the root"),
        ("[pools.gpu]", "[pools.GPU_1]", "[pools.GPU_1]"),
        ("workers = 8", "workerz = 8", "Did you mean `workers`"),
        ('# models = ["EGS/F814W"] ', 'models = ["EGS/F814W"] ', "workers of cpu would get no units"),
        ('kind = "kubernetes"', 'kind = "kubernetes"\nrouting = "pinned"', "workers of gpu and cpu would get no units"),
    ],
)
def test_what_is_wrong_in_a_profile_is_reported(tmp_path, old, new, told):
    with pytest.raises(ProfileError, match=re.escape(told)):
        site(tmp_path, [(old, new)])


def test_models_and_routing_to_any_worker_exclude_each_other(tmp_path):
    models, routing = '# models = ["EGS/F814W"] ', 'kind = "kubernetes"'
    with pytest.raises(ProfileError, match=r"takes no heed of models, but pools\.gpu names some") as told:
        site(tmp_path, [(models, models.removeprefix("# ")), (routing, f'{routing}\nrouting = "any"')])
    assert "claim" not in str(told.value)  # the whole table is not shown


def test_pools_that_hold_other_models_than_the_workflow_needs_are_refused(tmp_path, mini_survey):
    models = '# models = ["EGS/F814W"] '
    pools = [
        (models, 'models = ["EGS/F815W"] '),
        ('cores = 2\nmemory = "8 GiB"', 'cores = 2\nmodels = ["EGS/F814W"]\nmemory = "8 GiB"'),
    ]
    volume = ('# here = "/mnt/candels"  ', f'here = "{mini_survey.workflow.parent}"  ')
    (mini_survey.folder / "models").mkdir()
    site(tmp_path, [*pools, volume])
    with pytest.raises(ProfileError, match=r"but the workflow has .*EGS/F814W.* Correct models of the pools: EGS/F815W"):
        render_jobs(mini_survey.workflow, tmp_path / "site.toml", "kubernetes")


def test_a_workflow_outside_the_volume_is_refused(tmp_path, mini_survey):
    (mini_survey.folder / "models").mkdir()
    site(tmp_path, [('# here = "/mnt/candels"  ', f'here = "{tmp_path}/volume"  ')])
    with pytest.raises(ProfileError, match="does not lie on the profile's volume"):
        render_jobs(mini_survey.workflow, tmp_path / "site.toml", "kubernetes")


def test_a_workflow_is_named_as_the_pods_see_it(tmp_path, mini_survey):
    site(tmp_path, [('# here = "/mnt/candels"  ', f'here = "{mini_survey.folder}"  ')])
    (mini_survey.folder / "models").mkdir()
    rendered = str(render_jobs(mini_survey.workflow, tmp_path / "site.toml", "kubernetes"))
    assert f"/data/candels/{mini_survey.workflow.name}" in rendered


def test_a_profile_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="expected 'kubernetes'"):
        render_jobs(tmp_path / "workflow.toml", SITE.parents[1] / "local" / "profile.toml", "kubernetes")


def test_a_run_with_the_profile_itself_is_refused():
    with pytest.raises(ClusterError, match="surveyflow kubernetes render"):
        open_executor(load_profile(SITE), "fakes:make_fake_worker", FakeSettings()).__enter__()


@pytest.mark.parametrize(("ends", "code"), [("exit 0", 0), ("exit 3", 0), ("exit 2", 0), ("kill -KILL $$", 137)])
def test_a_driver_starts_again_only_after_a_signal(tmp_path, ends, code):
    script = _DRIVER_SCRIPT.format(command=f"bash -c '{ends}'", signalled=128).replace("/dev/termination-log", f"{tmp_path}/log")
    assert subprocess.run(["bash", "-c", script], check=False, capture_output=True).returncode == code
    assert (tmp_path / "log").read_text().startswith("surveyflow ended with exit code")


def test_a_driver_is_notified_when_its_pod_must_go(tmp_path):
    driver = f"bash -c 'trap \"touch {tmp_path}/released; exit 143\" TERM; touch {tmp_path}/ready; sleep 600 & wait'"
    script = _DRIVER_SCRIPT.format(command=driver, signalled=128).replace("/dev/termination-log", f"{tmp_path}/log")
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "ready").exists, "the driver is ready")
        process.terminate()
        assert process.wait() == 143
    assert (tmp_path / "released").exists()


@pytest.mark.skipif(
    find_spec("dask_kubernetes") is None or find_spec("jsonschema") is None,
    reason="dask-kubernetes and jsonschema are not installed: their schemas are not at hand",
)
def test_manifests_fit_the_operators_own_schemas():
    """Dask's operator brings the schemas that Kubernetes checks its resources against."""
    import jsonschema

    package = Path(find_spec("dask_kubernetes").origin).parent
    schemas = {}
    for path in package.rglob("crds/*.yaml"):
        definition = yaml.safe_load(path.read_text())
        schemas[definition["spec"]["names"]["kind"]] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for manifest in manifests(load_profile(SITE), RUN)[1:]:
        schema = _closed(schemas[manifest["kind"]]["properties"]["spec"])
        assert list(jsonschema.Draft202012Validator(schema).iter_errors(manifest["spec"])) == []


def _closed(schema):
    """Kubernetes drops what a schema does not know: here it is an error."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if (
        isinstance(schema.get("properties"), dict)
        and "metadata" not in schema["properties"]
        and "additionalProperties" not in schema
    ):
        closed["additionalProperties"] = False
    return closed
