"""The alerts of deploy/prometheus, and each query of the dashboard of deploy/grafana, asked of a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import yaml

from rabibridge_telemetry._metrics.catalog import CATALOG
from tests.support.http import get
from tests.workers.support import Program
from tools.prometheus import find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing._servers.base import Broker

_DEPLOY = Path(__file__).parents[2] / "deploy"
_RULES = _DEPLOY / "prometheus/alerts.yml"
_DASHBOARD = _DEPLOY / "grafana/rabibridge.json"
_NEEDS = pytest.mark.skipif(find() is None and not os.environ.get("CI"), reason="Prometheus is not installed")
_SERVICES = """
import asyncio
from rabibridge import register_call

@register_call
async def add(a, b):
    return a + b

@register_call(queue_size=1, fetch_size=1)
async def slow():
    await asyncio.sleep(0.3)

@register_call(rate="1000/s")
async def count(n):
    for i in range(n):
        yield i
"""
_GATEWAY = """
import asyncio
from rabibridge import CallTimeoutError, QueueFullError, RMQClient
from rabibridge_telemetry.health_server import health_server
from rabibridge_telemetry.prometheus import start

async def main():
    start()
    async with RMQClient() as client, health_server(client, port=0) as port:
        print(f"gateway: {port}.", flush=True)
        while True:
            await asyncio.gather(*(client.remote_call("add", (1, 2)) for _ in range(20)))
            async for item in client.stream("count", 50):
                pass
            await asyncio.gather(*(client.remote_call("slow", timeout=0.5) for _ in range(8)), return_exceptions=True)

asyncio.run(main())
"""


@_NEEDS
def test_alerts_fire_when_they_should_and_not_on_a_healthy_day() -> None:
    command = [find("promtool") or "promtool", "test", "rules", str(_RULES.with_name("alerts_test.yml"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_and_names_metrics_that_exist() -> None:
    rules = yaml.safe_load(_RULES.read_text())["groups"][0]["rules"]
    cases = yaml.safe_load(_RULES.with_name("alerts_test.yml").read_text())["tests"]
    assert {rule["alert"] for rule in rules} == {case["name"] for case in cases} - {"a healthy day"}
    _check_names(rule["expr"] for rule in rules)
    _check_names(expression for _, expression in _queries())


def test_the_runbook_says_what_to_do_about_each_alert() -> None:
    rules = yaml.safe_load(_RULES.read_text())["groups"][0]["rules"]
    section = (_DEPLOY.parent / "docs/operations.md").read_text().partition("## By alert")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(RabiBridge\w+)` \|", section, re.MULTILINE) == [rule["alert"] for rule in rules]


def _check_names(expressions: Any) -> None:
    names = {name for text in expressions for name in re.findall(r"rabibridge_\w+", text)}
    suffixes = ("_bucket", "_sum", "_count")
    known = {family.sample + end for family in CATALOG.values() for end in ("", *suffixes)}
    assert names <= known, names - known


def _queries() -> list[tuple[str, str]]:
    panels = json.loads(_DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


@contextmanager
def _prometheus(folder: Path, targets: list[int], *options: str) -> Iterator[int]:
    """Run a Prometheus that scrapes these ports, by the configuration of deploy/; give its port."""
    configuration = yaml.safe_load((_DEPLOY / "prometheus/prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(_RULES)]
    (job,) = configuration["scrape_configs"]
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}" for port in targets]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [
                find() or "prometheus", f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}", *options,
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def _query(port: int, expression: str) -> list[Any]:
    try:
        status, text = await get(port, f"/api/v1/query?query={quote(expression)}")
    except (OSError, IndexError):
        return []  # it is starting
    if status != 200:
        assert status == 503, text
        return []
    text = text[text.index("{") : text.rindex("}") + 1]  # it may come in chunks
    return [one for one in json.loads(text)["data"]["result"] if one.get("value", [0, "1"])[1] != "NaN"]


async def _answers(port: int, expression: str) -> list[Any]:
    async with asyncio.timeout(90):
        while not (found := await _query(port, expression)):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.5)
    return found


@_NEEDS
@pytest.mark.slow
async def test_each_query_of_the_dashboard_gives_data_of_a_real_run(rabbitmq: Broker, tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    program = Program(tmp_path / "program", rabbitmq.fresh_vhost())
    (program.folder / "services.py").write_text(_SERVICES)
    (program.folder / "gateway.py").write_text(_GATEWAY)
    try:
        with program.command("services.py", "--workers", "2", "--metrics-port", "0") as workers:
            await workers.serves(2)
            with program.python("gateway.py") as gateway:
                await gateway.logged("gateway: ")
                ports = [
                    int(re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", workers.log)[0]),
                    int(re.findall(r"gateway: (\d+)\.", gateway.log)[0]),
                ]
                with (
                    _prometheus(tmp_path / "classic", ports) as port,
                    _prometheus(tmp_path / "native", ports, "--enable-feature=native-histograms") as native,
                ):
                    await _answers(port, "count(up == 1) == 2")
                    for title, expression in _queries():
                        asked = expression.replace("$__rate_interval", "15s").replace("$service", ".*")
                        try:
                            await _answers(port, asked)
                        except TimeoutError:
                            raise AssertionError(f"{title}: no data for {asked}\n{gateway.log}") from None
                    assert await _answers(
                        port, 'rabibridge_client_calls_total{outcome="queue_full",service="slow"} > 0'
                    )
                    assert await _answers(port, 'rabibridge_client_stream_items_total{service="count"} > 0')
                    duration = "rabibridge_server_call_duration_seconds"
                    quantile = f'histogram_quantile(0.99, sum(rate({duration}{{service="slow"}}[15s])))'
                    ((_, value),) = [one["value"] for one in await _answers(native, quantile)]
                    assert 0.3 / 1.15 < float(value) < 2.0  # the function takes 0.3 s, and may have waited
    finally:
        program.close()
