"""All results of a run, and the file that stores them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.compare import targets
from benchmarks.compare.figures import ratios

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.compare.footprint import Footprint
    from benchmarks.compare.payloads import Carried
    from benchmarks.compare.rounds import Measured


@dataclass(frozen=True)
class Report:
    """The figures of a run."""

    machine: dict[str, str]
    settings: dict[str, float]
    in_flights: list[int]
    measured: Measured
    payloads: dict[str, dict[str, Carried]]
    footprint: Footprint | None

    def targets(self) -> list[targets.Target]:
        """Return the targets, and whether each one was reached."""
        found = targets.of_rounds(self.measured.rounds) + targets.of_payloads(self.payloads)
        return found + (targets.of_footprint(self.footprint) if self.footprint is not None else [])

    def save(self, file: Path) -> None:
        """Write everything as JSON, including every single round."""
        content = {
            **asdict(self),
            "ratios": ratios(self.measured.rounds),
            "targets": [asdict(one) for one in self.targets()],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_rounded(content), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    """Keep four digits: more digits are noise, and double the size of the file."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
