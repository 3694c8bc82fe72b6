"""Loads settings from arguments, environment variables and the configuration file, and checks them.

Here belongs where settings come from, what each one accepts, and how a transport declares its own. What a setting does
belongs to the code that uses it, and everything that only one transport has belongs to that transport.
"""

from rabibridge_core.settings.endpoints import Endpoint, Secret
from rabibridge_core.settings.fields import (
    SettingRule,
    boolean_setting,
    choice_setting,
    integer_setting,
    seconds_setting,
    setting,
)
from rabibridge_core.settings.loading import load_settings
from rabibridge_core.settings.settings import Settings
from rabibridge_core.settings.transports import TransportDeclaration, TransportSettings

__all__ = [
    "Endpoint",
    "Secret",
    "SettingRule",
    "Settings",
    "TransportDeclaration",
    "TransportSettings",
    "boolean_setting",
    "choice_setting",
    "integer_setting",
    "load_settings",
    "seconds_setting",
    "setting",
]
