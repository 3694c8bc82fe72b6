"""Settings: profiles of the configuration file."""

from __future__ import annotations

from typing import Any

import pytest

from rabibridge_core.settings import load_settings
from tests.unit.settings_support import broker_file, error_of, only, write_file

pytestmark = pytest.mark.usefixtures("clean_place")

PROFILES = """
[app]
MAX_PENDING = 10
SERIALISER = "json"

[profile.staging]
RABBITMQ_HOST = "staging-host"
MAX_PENDING = 5

[profile.long.rabbitmq]
RABBITMQ_HOST = "long-host"
[profile.long.app]
SERIALIZER = "pickle"
"""


def test_a_profile_replaces_single_keys_of_the_file(env: Any) -> None:
    broker_file(more=PROFILES)
    settings = load_settings()
    assert (only(settings).host, settings.max_pending, settings.serializer) == ("file-host", 10, "json")
    env(RABIBRIDGE_PROFILE="staging")
    settings = load_settings()
    assert (only(settings).host, settings.max_pending, settings.serializer) == ("staging-host", 5, "json")
    assert only(settings).username == "file-user"
    settings = load_settings(profile="long")
    assert (only(settings).host, settings.max_pending, settings.serializer) == ("long-host", 10, "pickle")


@pytest.mark.parametrize("profile", ["stagin", "Staging"])
def test_a_profile_that_is_not_there_is_an_error_with_the_nearest_one(profile: str, env: Any) -> None:
    broker_file(more=PROFILES)
    env(RABIBRIDGE_PROFILE=profile)
    text = error_of()
    assert f"there is no profile {profile!r} (from the environment variable RABIBRIDGE_PROFILE)" in text
    assert "did you mean staging?" in text


def test_a_profile_that_resembles_none_is_an_error_with_all_of_them() -> None:
    broker_file(more=PROFILES)
    assert "its profiles are long, staging" in error_of(profile="production")


def test_a_profile_without_a_file_or_without_profiles_is_an_error() -> None:
    assert "No configuration file was found" in error_of(profile="x", require_broker=False)
    broker_file()
    assert "has no profiles; a profile is a table: [profile.x]" in error_of(profile="x")


def test_no_profile_is_selected_by_a_blank_variable(env: Any) -> None:
    broker_file(more=PROFILES)
    env(RABIBRIDGE_PROFILE=" ")
    assert only(load_settings()).host == "file-host"
    assert "the argument profile= is empty" in error_of(profile="")


def test_errors_name_the_table_and_the_line_of_a_profile() -> None:
    write_file("[profile.staging]\n\nMAX_PENDING = 0\n[profile.staging.app]\nMAX_BODY = 0\n")
    text = error_of(profile="staging", require_broker=False)
    assert "MAX_PENDING under [profile.staging] in" in text
    assert "rabibridge.toml, line 3" in text
    assert "MAX_BODY under [profile.staging.app] in" in text
    assert "rabibridge.toml, line 5" in text
    load_settings(require_broker=False)  # a profile that is not selected is not read


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[profile.x]\nMAX_PENDNG = 1\n", "MAX_PENDNG under [profile.x] in"),
        ("[profile.x]\nMAX_PENDNG = 1\n", "line 2: did you mean MAX_PENDING?"),
        ("[profile.x.ap]\nMAX_PENDING = 1\n", "unknown table [profile.x.ap] in"),
        ("[profile.x.rabbitmq]\nMAX_PENDING = 1\n", "it belongs under [profile.x.app]"),
        ("[profile.x]\nMAX_PENDING = 1\n[profile.x.app]\nMAX_PENDING = 2\n", "the profile 'x' has two values"),
        ("[profile]\nMAX_PENDING = 1\n[profile.x]\n", "a profile is a table: [profile.staging]"),
        ("[profile.x.profile.y]\nMAX_PENDING = 1\n", "unknown table [profile.x.profile]"),
    ],
)
def test_what_is_wrong_with_a_profile_is_told(content: str, expected: str) -> None:
    write_file(content)
    assert expected in error_of(profile="x", require_broker=False)
