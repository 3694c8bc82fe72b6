"""Describes the machine and the versions of a run."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environments import interpreter, nats_server
from benchmarks.roster import ENTRIES
from tools.broker import BrokerError
from tools.redis_server import find_redis_server

if TYPE_CHECKING:
    from tools.broker import Broker

_ERLANG = 'binary_to_list(element(2, file:read_file(filename:join([code:root_dir(), "releases", ' + (
    'erlang:system_info(otp_release), "OTP_VERSION"]))))'
)


def describe(broker: Broker, names: list[str]) -> dict[str, str]:
    """Return the date, the machine, and the versions of all components."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{_memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "RabbitMQ": _ask(broker, "rabbit_misc:version()."),
        "Erlang": _ask(broker, f"{_ERLANG}."),
    }
    homes = dict.fromkeys(ENTRIES[name].home for name in names)
    for home in homes:
        if home != "c":
            found |= _versions(home, names)
    if "c" in homes:
        found["librabbitmq"] = _first_number(["pkg-config", "--modversion", "librabbitmq"])
    if any(ENTRIES[name].through == "Redis" for name in names):
        found["redis-server"] = _first_number([find_redis_server() or "redis-server", "--version"])
    if any(ENTRIES[name].through == "NATS" for name in names):
        found["nats-server"] = _first_number([nats_server(), "--version"])
    return {name: value for name, value in found.items() if value}


def _versions(home: str, names: list[str]) -> dict[str, str]:
    wanted = {ENTRIES[name].distribution for name in names if ENTRIES[name].home == home} - {None}
    wanted |= {"uvloop"} if home == "main" else set()
    code = "import sys; from importlib.metadata import version; print(*(version(one) for one in sys.argv[1:]))"
    python = interpreter(home)  # type: ignore[arg-type]  # it is a Home, of the roster
    asked = sorted(str(one) for one in wanted)
    done = subprocess.run([python.python, "-c", code, *asked], env=python.variables, capture_output=True, text=True)
    return dict(zip(asked, done.stdout.split(), strict=False))


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return models[0] if models else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _ask(broker: Broker, expression: str) -> str:
    try:
        return broker.ctl("eval", expression).strip().strip('"').removesuffix("\\n")
    except BrokerError:
        return ""  # a broker started elsewhere, which we cannot query


def _first_number(command: list[str]) -> str:
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    found = re.search(r"\d+(?:\.\d+)+", printed)
    return found[0] if found else ""
