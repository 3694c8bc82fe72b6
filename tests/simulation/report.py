"""What is said about a simulation that has failed, and how it is kept."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.plan import VERSION, Plan

if TYPE_CHECKING:
    from tests.simulation.run import Outcome

__all__ = ["kept", "load_case", "python", "report"]

_LINES = 60
_HERE = Path(__file__).parent


def _commit() -> str:
    """Return the commit of the engines, as far as git knows it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=_HERE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def report(outcome: Outcome) -> str:
    """Return what has failed, how to repeat it, and what has happened, in words."""
    plan = outcome.plan
    lines = [
        f"seed {plan.seed}, workload {VERSION}, commit {_commit()}, Python {platform.python_version()}, "
        f"trace {outcome.digest}: {len(plan.calls)} calls, {len(plan.faults)} faults",
        *(f"  {kind}: {text}" for kind, text in outcome.violations),
        *(f"  {call}" for call in plan.calls),
        *(f"  {fault}" for fault in plan.faults),
        *outcome.lines[-_LINES:],
    ]
    return "\n".join(lines)


def kept(outcome: Outcome, why: str, mistake: str = "") -> str:
    """Return a case as text to keep in ``cases``: its plan and all decisions, which repeat it on other commits.

    Args:
        outcome: the failure.
        why: what it has shown.
        mistake: the name in ``MISTAKES`` of what takes back the mend, so that the case can be seen to fail without it.
    """
    case = {
        "why": why, "mistake": mistake, "kinds": sorted(outcome.kinds), "workload": VERSION, "python": python(),
        "plan": outcome.plan.as_json(), "decisions": outcome.decisions,
    }  # fmt: skip
    return json.dumps(case) + "\n"


def python() -> str:
    """Return the version of Python: the tasks of asyncio take their turns in another order in some of them."""
    return ".".join(platform.python_version_tuple()[:2])


def load_case(path: Path) -> tuple[dict[str, Any], Plan, list[int]]:
    """Return a case that was kept: all of it, its plan and its decisions."""
    case = json.loads(path.read_text("utf-8"))
    return case, Plan.from_json(case["plan"]), case["decisions"]
