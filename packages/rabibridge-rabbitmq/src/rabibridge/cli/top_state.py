"""What ``rabibridge top`` shows, and what its keys change; it knows neither the terminal nor the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rabibridge_core.introspection import Services

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.introspection import ServiceStatus

__all__ = ["SORTS", "TopState"]

SORTS: Final[dict[str, Callable[[ServiceStatus], Any]]] = {
    "rate": lambda service: -service.rate,
    "p99": lambda service: -(service.recent.percentile(99) or 0.0),
    "in hand": lambda service: -service.in_hand,
    "waiting": lambda service: -(service.waiting or 0),
    "refused": lambda service: -service.counts.refused,
    "errors": lambda service: -service.counts.errors,
    "name": lambda service: service.name,
}
"""The orders of the table, and by what: the largest numbers come first."""


class TopState:
    """The table of services with a selected row, or one service of it.

    Attributes:
        found: the last answers of the workers.
        trouble: why there are no newer ones; empty: all is well.
        sort: the order of the table, a key of :data:`SORTS`.
        reverse: the other way round.
        filter: only services whose name contains this text.
        typing: the filter is being typed.
        paused: what is shown stays as it is.
        detail: the service that is shown alone, by name and kind; ``None``: the table is shown.
        scroll: the first line that is shown of that service.
        ended: the user wants to leave.
    """

    def __init__(self) -> None:
        """Begin with the table, the busiest first."""
        self.found = Services()
        self.trouble = ""
        self.sort = "rate"
        self.reverse = False
        self.filter = ""
        self.typing = False
        self.paused = False
        self.detail: tuple[str, str] | None = None
        self.scroll = 0
        self.ended = False
        self._selected: tuple[str, str] | None = None

    @property
    def services(self) -> list[ServiceStatus]:
        """The rows of the table, in their order."""
        wanted = self.filter.lower()
        rows = [service for service in self.found if wanted in service.name.lower()]
        rows.sort(key=lambda service: service.name)
        rows.sort(key=SORTS[self.sort], reverse=self.reverse)
        return rows

    @property
    def selected(self) -> int:
        """The number of the selected row. It stays with its service when the order changes."""
        rows = self.services
        return next((number for number, row in enumerate(rows) if (row.name, row.kind) == self._selected), 0)

    @property
    def shown(self) -> ServiceStatus | None:
        """The service that is shown alone; ``None``: the table is shown, or it is gone."""
        return None if self.detail is None else self.found.get(*self.detail)

    def press(self, key: str) -> None:
        """Do what a key means."""
        if key == "gone":
            self.ended = True
        elif self.typing:
            self._type(key)
        elif key == "q":
            self.ended = True
        elif key == "p":
            self.paused = not self.paused
        elif self.detail is not None:
            self._press_in_detail(key)
        else:
            self._press_in_table(key)

    def _type(self, key: str) -> None:
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key

    def _press_in_detail(self, key: str) -> None:
        if key in {"escape", "backspace"}:
            self.detail, self.scroll = None, 0
        else:
            self.scroll = max(0, self.scroll + _STEPS.get(key, 0))

    def _press_in_table(self, key: str) -> None:
        rows = self.services
        if key == "/":
            self.typing = True
        elif key == "escape":
            self.filter = ""
        elif key == "r":
            self.reverse = not self.reverse
        elif key in {"s", "S"}:
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + (1 if key == "s" else -1)) % len(names)]
        elif rows:
            row = rows[min(max(self.selected + _STEPS.get(key, 0), 0), len(rows) - 1)]
            self._selected = (row.name, row.kind)
            if key == "enter":
                self.detail = self._selected


_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}
