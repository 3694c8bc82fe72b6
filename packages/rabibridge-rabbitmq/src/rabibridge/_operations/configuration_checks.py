"""Checks of the configuration: what is given, where it comes from, and what is wrong with it. Secrets are hidden."""

from __future__ import annotations

from rabibridge.settings import RABBITMQ
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.operations.findings import Finding, Report, Status
from rabibridge_core.settings.origins import Rank
from rabibridge_core.settings.overview import overview

__all__ = ["check_configuration"]

_ADVICE = "rabibridge config show shows all settings; docs/configuration.md lists them"


def check_configuration(findings: Report) -> None:
    """Add one line for each setting that is given, and for each fault and warning."""
    try:
        found = overview(transport_name=RABBITMQ.name)
    except ConfigurationError as error:
        findings.append(Finding("configuration", "", Status.FAILURE, str(error), _ADVICE))
        return
    findings.append(Finding("configuration", "file", Status.OK, found.note))
    if found.profile is not None:
        text = f"{found.profile.value}, from {found.profile.origin}"
        findings.append(Finding("configuration", "profile", Status.OK, text))
    for setting in found.settings:
        if setting.origin.rank is not Rank.DEFAULT:
            value = ", ".join(setting.value) if isinstance(setting.value, list) else setting.value
            findings.append(Finding("configuration", setting.name, Status.OK, f"{value}, from {setting.origin}"))
    findings.extend(Finding("configuration", "", Status.WARNING, text, _ADVICE) for text in found.warnings)
    findings.extend(Finding("configuration", "", Status.FAILURE, text, _ADVICE) for text in found.faults)
