"""What a check has found: one line, how bad it is, and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Finding", "Report", "Status"]


class Status(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not in every situation, or an operator should look at it."""
    FAILURE = "failure"
    """Calls fail, or a client or server cannot start."""


class Finding(NamedTuple):
    """One line of a report.

    Attributes:
        check: what was checked: ``dns``, ``tcp``, ``tls``, ``protocol``, ``login``, ``broker``, ``alarm``, ``clock``,
            ``keys``, ``workers``, ``permission``, ``queue``, ``consumers``, ``dead letters``, ``credentials``,
            ``virtual host``, ``target`` or ``configuration``.
        subject: which one: a host, an exchange, a queue, a setting.
        status: how bad it is.
        text: what was found.
        advice: what to do; empty if nothing need be done.
    """

    check: str
    subject: str
    status: Status
    text: str
    advice: str = ""


class Report:
    """The findings of one examination, in the order in which they were made."""

    def __init__(self, on_finding: Callable[[Finding], None] | None = None) -> None:
        """Begin; ``on_finding`` is called with each finding as soon as it is made."""
        self.findings: list[Finding] = []
        self._on_finding = on_finding

    def append(self, finding: Finding) -> None:
        """Add a finding."""
        self.findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add several findings."""
        for finding in findings:
            self.append(finding)

    @property
    def worst(self) -> Status:
        """The worst status of all."""
        found = {finding.status for finding in self.findings}
        return next((status for status in (Status.FAILURE, Status.WARNING) if status in found), Status.OK)
