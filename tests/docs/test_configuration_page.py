"""The tables of docs/configuration.md are what the settings declare.

``python -m tests.docs.test_configuration_page`` writes them.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rabibridge.settings import RABBITMQ, RabbitMQSettings
from rabibridge_core.settings import Settings
from rabibridge_core.settings.fields import CheckedSettings, SettingRule, rules_of
from rabibridge_core.settings.tls_settings import TLSSettings
from rabibridge_core.settings.transports import CONNECTION_FIELDS
from rabibridge_redis.settings import RedisSettings

_PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
_HEAD = "| setting | variable | default | allowed | meaning |\n|---|---|---|---|---|\n"
_WORDS = {None: "none", False: "false", True: "true", (): "none", "/": "`/`"}
_URL_ROW = (
    "`url`", "`RABIBRIDGE_URL`, and as a last resort `CLOUDAMQP_URL`", "-", "none",
    "all connection settings at once, for one broker or several; see below",
)  # fmt: skip


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _default(settings: type[CheckedSettings], name: str, rule: SettingRule) -> str:
    if rule.shown_default:
        return rule.shown_default
    default: Any
    (default,) = [item.default for item in fields(settings) if item.name == name]  # type: ignore[arg-type]
    if isinstance(default, bool) or not isinstance(default, int | float):
        return _WORDS.get(default, str(default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _table(settings: type[CheckedSettings], group: str = "") -> str:
    rows = {name: rule for name, rule in rules_of(settings).items() if rule.group == group}
    return _HEAD + "".join(
        _line(
            f"`{name}`",
            f"`RABIBRIDGE_{name.upper()}`",
            _default(settings, name, rule),
            rule.allowed.replace("*", "`*`").replace("?", "`?`").replace(str(2**63 - 1), "2⁶³-1"),
            rule.meaning,
        )
        for name, rule in rows.items()
    )


def _connection() -> str:
    rows: list[tuple[str, ...]] = [_URL_ROW]
    for name, meaning in CONNECTION_FIELDS.items():
        key = f"`{RABBITMQ.variable(name)}`"
        default = "none, required" if name in RABBITMQ.required else RABBITMQ.default_virtualhost
        default = {"virtualhost": f"`{default}`", "ssl": "no TLS, or what the URL says"}.get(name, default)
        rows.append((f"`{name}`", key, key, default, meaning))
    head = "| argument | variable | key in `[rabbitmq]` | default | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(_line(*row) for row in rows)


def _secrets() -> str:
    head = "| secret | itself, in a variable | the name of its file, in a variable | in the file |\n|---|---|---|---|\n"
    password = RABBITMQ.variable("password")
    files = f"`RABIBRIDGE_PASSWORD_FILE` or `{password}_FILE`"
    rows = [("password", f"`{password}`", files, f"`{password}_FILE` in `[rabbitmq]`")]
    for name, rule in (rules_of(Settings) | rules_of(RabbitMQSettings) | rules_of(RedisSettings)).items():
        if rule.secret:
            key = name.upper()
            rows.append((f"`{name}`", f"`RABIBRIDGE_{key}`", f"`RABIBRIDGE_{key}_FILE`", f"`{key}_FILE` in `[app]`"))
    return head + "".join(_line(*row) for row in rows)


def _tables() -> dict[str, str]:
    return {
        "connection": _connection(),
        "application": _table(Settings),
        "rabbitmq": _table(RabbitMQSettings),
        "redis": _table(RedisSettings),
        "tls": _table(RabbitMQSettings, "tls"),
        "run": _table(Settings, "run"),
        "security": _table(Settings, "security"),
        "secrets": _secrets(),
    }


def _filled(page: str) -> str:
    tables = _tables()
    return _TABLE.sub(lambda found: found[1] + tables[found[2]] + found[4], page)


def test_the_tables_are_what_the_settings_declare() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert sorted(name for _, name, _, _ in _TABLE.findall(page)) == sorted(_tables())
    assert _filled(page) == page, "python -m tests.docs.test_configuration_page writes the tables anew"


@pytest.mark.parametrize(
    "settings", [Settings, RabbitMQSettings, RedisSettings, TLSSettings], ids=["core", "rabbitmq", "redis", "tls"]
)
def test_every_setting_says_what_it_means_and_is_in_a_table(settings: type[CheckedSettings]) -> None:
    tables = "".join(table for name, table in _tables().items() if name != "secrets")
    for name, rule in rules_of(settings).items():
        assert rule.meaning, name
        assert rule.allowed, name
        assert tables.count(f"| `{name}` | `RABIBRIDGE_{name.upper()}` |") == 1, name


if __name__ == "__main__":
    _PAGE.write_text(_filled(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
