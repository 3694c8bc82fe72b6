"""Settings: from arguments, environment variables and the configuration file to one checked object.

Where settings come from and what is allowed belongs here. What a setting does belongs to the part that reads it.
"""

from rabibridge_core.settings.endpoints import Endpoint, Secret
from rabibridge_core.settings.settings import Settings, load_settings

__all__ = ["Endpoint", "Secret", "Settings", "load_settings"]
