"""A soak: random faults under load for as long as you like, and a ledger of every call.

``python -m tools.soak 600`` runs it on a private node; the processes and the ledger are those of ``tests/chaos``.
"""

from __future__ import annotations

from tools.soak.run import soak
from tools.soak.tally import Tally

__all__ = ["Tally", "soak"]
