"""The files in deploy/: their schemas, the options in them, and that the times of each platform fit together."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.main import get_command

from rabibridge.cli.app import app
from rabibridge.cli.lazy import load_command

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
UNIT = DEPLOY / "systemd/rabibridge.service"
KUBERNETES_VERSION = "1.31"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def kubernetes(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def pod(deployment: str) -> dict[str, Any]:
    found = next(
        one
        for one in kubernetes("rabibridge.yaml")
        if one["kind"] == "Deployment" and one["metadata"]["name"] == deployment
    )
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def unit() -> dict[str, list[str]]:
    """Return the values of each key; a unit may have a key more than once."""
    values: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        key, found, value = line.partition("=")
        if found and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def commands() -> Iterator[Any]:
    """Yield every command line of ours in these files."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    yield pytest.param(yaml.safe_load(dockerfile[dockerfile.index("CMD [") + 4 :].splitlines()[0]), id="image")
    for name, service in compose()["services"].items():
        if service.get("command"):
            yield pytest.param(service["command"], id=f"compose {name}")
    worker = pod("rabibridge-worker")["containers"][0]
    yield pytest.param(worker["args"], id="kubernetes worker")
    yield pytest.param(shlex.split(unit()["ExecStart"][0])[1:], id="systemd")


@pytest.mark.parametrize("arguments", list(commands()))
def test_every_command_in_the_files_has_these_options(arguments: list[str]) -> None:
    table: Any = get_command(app)
    assert arguments[0] in table.commands
    command = load_command(arguments[0])
    with command.make_context(arguments[0], list(arguments[1:])) as context:
        assert context.params


@pytest.mark.parametrize("name", ["rabibridge.yaml", "keda.yaml"])
def test_kubernetes_knows_every_field(name: str) -> None:
    import kubernetes_validate  # it takes over a second, which every process of the test run would spend at its start

    for document in kubernetes(name):
        if document["apiVersion"].startswith("keda.sh/"):
            assert {"apiVersion", "kind", "metadata", "spec"} == set(document)
        else:
            kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_what_scales_names_a_deployment_a_queue_and_a_secret_that_exist() -> None:
    authentication, scaled = kubernetes("keda.yaml")
    spec = scaled["spec"]
    trigger = spec["triggers"][0]
    documents = kubernetes("rabibridge.yaml")
    secret = next(one for one in documents if one["kind"] == "Secret")

    assert pod(spec["scaleTargetRef"]["name"])
    assert trigger["metadata"]["queueName"] == "rpc_async_add"
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    wanted = authentication["spec"]["secretTargetRef"][0]
    assert wanted["name"] == secret["metadata"]["name"]
    assert wanted["key"] in secret["stringData"]


def test_no_platform_kills_before_the_drain_is_over() -> None:
    services = compose()["services"]
    drain = float(services["worker"]["environment"]["RABIBRIDGE_DRAIN_TIMEOUT"])
    assert seconds(services["worker"]["stop_grace_period"]) >= drain + 5

    settings = next(one for one in kubernetes("rabibridge.yaml") if one["kind"] == "ConfigMap")["data"]
    assert pod("rabibridge-worker")["terminationGracePeriodSeconds"] >= float(settings["RABIBRIDGE_DRAIN_TIMEOUT"]) + 5

    environment = dict(pair.split("=", 1) for line in unit()["Environment"] for pair in shlex.split(line))
    assert seconds(unit()["TimeoutStopSec"][0]) >= float(environment["RABIBRIDGE_DRAIN_TIMEOUT"]) + 5


def test_the_image_runs_as_nobody_in_particular_and_gets_signals_itself() -> None:
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    last = stages[-1]
    user = re.search(r"^USER (\S+)$", last, flags=re.MULTILINE)
    assert user
    assert int(user[1]) > 0
    assert re.search(r'^ENTRYPOINT \["rabibridge"\]$', last, flags=re.MULTILINE)
    assert "pip" not in last
    assert "apt" not in last


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("rabibridge")
    text = UNIT.read_text().replace("/opt/rabibridge/bin/rabibridge", str(program))
    (tmp_path / "rabibridge.service").write_text(text.replace("/srv/rabibridge", str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "rabibridge.service")],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:/lib/systemd/system"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "rabibridge.service" in line]
    assert told == []


@pytest.mark.parametrize("service", ["worker", "gateway", "dashboard"])
def test_containers_of_ours_can_do_little(service: str) -> None:
    found = compose()["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    for container in (pod("rabibridge-worker")["containers"][0], pod("rabibridge-gateway")["containers"][0]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_ports_are_published_for_this_machine_alone() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
