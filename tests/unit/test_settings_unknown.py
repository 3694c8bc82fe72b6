"""Settings: names that no setting has, in the file and in the environment."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rabibridge_core.settings import load_settings
from tests.unit.settings_support import PASSWORD, broker_file, error_of, only, write_file

pytestmark = pytest.mark.usefixtures("clean_place")


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("table", "key", "advice"),
    [
        ("app", "CALL_TIMEOT", "did you mean CALL_TIMEOUT?"),
        ("app", "call_timeout", "did you mean CALL_TIMEOUT?"),
        ("app", "call-timeout", "did you mean CALL_TIMEOUT?"),
        ("app", "RABIBRIDGE_CALL_TIMEOUT", "did you mean CALL_TIMEOUT?"),
        ("app", "SERIALIZR", "did you mean SERIALIZER?"),
        ("app", "RABBITMQ_HOST", "it belongs under [rabbitmq]"),
        ("app", "TLS", "the keys of [app] are ANY_MAP_KEYS, AUTH_MECHANISM, BAGGAGE, BIND_CORE"),
        ("rabbitmq", "RABBITMQ_HOTS", "did you mean RABBITMQ_HOST?"),
        ("rabbitmq", "HOST", "did you mean RABBITMQ_HOST?"),
        ("rabbitmq", "password", "did you mean RABBITMQ_PASSWORD?"),
        ("rabbitmq", "MAX_BODY", "it belongs under [app]"),
        ("rabitmq", "RABBITMQ_HOST", "did you mean rabbitmq?"),
        ("App", "MAX_BODY", "did you mean app?"),
        ("database", "HOST", "the tables are app, rabbitmq, secret"),
    ],
)
def test_an_unknown_name_in_the_file_is_an_error_with_its_place_and_the_right_one(
    table: str, key: str, advice: str
) -> None:
    write_file(f'# settings\n[{table}]\n\n{key} = "{PASSWORD}"\n')
    text = error_of(require_broker=False)
    assert "rabibridge.toml, line " in text
    assert advice in text
    assert f"[{table}]" in text
    assert PASSWORD not in text


def test_all_faults_are_told_at_once(env: Any) -> None:
    write_file('[rabbitmq]\nRABBITMQ_HOTS = "h"\n[app]\nMAX_BODY = 0\nCID_MAXX = 1\n[extra]\nx = 1\n')
    env(RABIBRIDGE_DRAIN_TIMEOUT="soon")
    text = error_of()
    assert text.startswith("there are 6 faults in the configuration:\n- unknown table [extra]")
    for part in ("RABBITMQ_HOTS", "CID_MAXX", "max_body is 0", "drain_timeout is 'soon'", "there is no host, port,"):
        assert part in text


def test_files_of_version_0_are_read_as_before(caplog: pytest.LogCaptureFixture, env: Any) -> None:
    more = '[app]\nDEBUG_MODE = true\nCID_MAX = 2000\nSERIALISER = "json"\n[secret]\nSECRET = "old"\n'
    broker_file(path="config/env.toml", more=f'{more}[mysql]\nHOST = "elsewhere"\n[profile]\nname = "x"\n')
    env(RABBITMQ_PASSWORD="plain")
    settings = load_settings()
    assert (only(settings).host, settings.cid_max, settings.serializer) == ("file-host", 2000, "json")
    (warning,) = _warnings(caplog)
    assert "[mysql]" in warning
    broker_file(path="config/env.toml", more=f'{more}[ap]\nMAX_BODY = "elsewhere"\n')
    assert "did you mean app?" in error_of()


def test_an_unknown_variable_is_warned_of_with_the_nearest_right_one(
    env: Any, caplog: pytest.LogCaptureFixture
) -> None:
    env(RABIBRIDGE_SERIALIZR="json", RABIBRIDGE_MAX_BDOY="1", RABIBRIDGE_TEST_URL="x", RABIBRIDGE_COLOUR="red")
    load_settings(require_broker=False)
    assert _warnings(caplog) == [
        "Unknown environment variables are ignored: RABIBRIDGE_COLOUR, "
        "RABIBRIDGE_MAX_BDOY (did you mean RABIBRIDGE_MAX_BODY?), "
        "RABIBRIDGE_SERIALIZR (did you mean RABIBRIDGE_SERIALIZER?)"
    ]


def test_variables_that_kubernetes_sets_for_services_are_no_settings(
    env: Any, caplog: pytest.LogCaptureFixture
) -> None:
    env(RABBITMQ_PORT="tcp://10.0.0.1:5672", RABBITMQ_SERVICE_HOST="10.0.0.1")
    for name in ("RABIBRIDGE", "RABIBRIDGE_DASHBOARD"):
        env(**{f"{name}_PORT": "tcp://10.0.0.2:80", f"{name}_SERVICE_HOST": "10.0.0.2", f"{name}_SERVICE_PORT": "80"})
        env(**{f"{name}_PORT_80_TCP_ADDR": "10.0.0.2", f"{name}_PORT_80_TCP": "tcp://10.0.0.2:80"})
        env(**{f"{name}_SERVICE_PORT_HTTP": "80"})
    broker_file()
    assert only(load_settings()).port == 1003
    assert not _warnings(caplog)


def test_tables_and_keys_are_found_however_toml_writes_them() -> None:
    write_file('app.MAX_BODY = 0\n\n[ "rabbitmq" ]\nRABBITMQ_HOST = """\na,\nb:x"""\nRABBITMQ_PORT = 0 # no port\n')
    text = error_of(require_broker=False)
    for part in ("rabibridge.toml, line 1)", "rabibridge.toml, line 4)"):
        assert part in text
