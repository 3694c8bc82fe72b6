"""A transport that a third distribution would bring as a plug-in, with settings of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge_core.plugins import hookimpl
from rabibridge_core.settings import (
    SettingRule,
    Settings,
    TransportDeclaration,
    TransportSettings,
    boolean_setting,
    integer_setting,
    seconds_setting,
    setting,
)
from rabibridge_testing._memory.broker import MemoryBroker
from rabibridge_testing._memory.transport import MemoryTransport

if TYPE_CHECKING:
    from rabibridge_core.transport import Transport


def _box(value: Any) -> str:
    if not 0 <= int(value) <= 15:
        raise ValueError
    return str(value)


def _colour(value: Any) -> str:
    return {"red": "red", "blue": "blue"}[str(value).lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySettings(TransportSettings):
    pool_size: int = integer_setting(1, 100, default=4, unit="connections", in_url=True)
    patience: float = seconds_setting(0.1, 60, default=5.0)
    wind_up: bool = boolean_setting(default=False)
    colour: str = setting(default="red", parse=_colour, allowed="red or blue", aliases=["COLOR"])
    token: str = setting(default="a" * 8, parse=lambda value: str(value)[:8], allowed="a text", secret=True)


TOY = TransportDeclaration(
    name="toy",
    schemes={"toy": 4000, "toys": 4001},
    tls_schemes={"toy": "toys"},
    variable_prefix="TOY_",
    url_variables=("TOYCLOUD_URL",),
    virtualhost=SettingRule(_box, "the number of a box from 0 to 15"),
    default_virtualhost="0",
    settings=ToySettings,
)


class ToyTransport(MemoryTransport):
    """Works like ``memory://``, and remembers its settings."""

    def __init__(self, settings: ToySettings) -> None:
        super().__init__(MemoryBroker("toy"))
        self.settings = settings


class ToyPlugin:
    """What the distribution of a transport would have in its entry point."""

    @hookimpl
    def rabibridge_transport_settings(self) -> TransportDeclaration:
        return TOY

    @hookimpl
    def rabibridge_transport(self, scheme: str, settings: Settings) -> Transport | None:
        return ToyTransport(settings.transport_as(ToySettings)) if scheme in TOY.schemes else None
