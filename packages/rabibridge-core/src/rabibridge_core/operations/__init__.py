"""What operators do on a broker, for every transport: dead letters, queues, permissions, and the search for faults.

The command ``rabibridge`` is written against :class:`Operator`. A transport offers its own by the hook
``rabibridge_operator``.
"""

from rabibridge_core.operations.errors import OperationError
from rabibridge_core.operations.findings import Finding, Report, Status
from rabibridge_core.operations.letter_contents import LetterContents
from rabibridge_core.operations.letter_reports import LetterList, LetterRefusal, RequeueReport
from rabibridge_core.operations.letters import DeadLetter, LetterFilter
from rabibridge_core.operations.operator import (
    DeadLetterBox,
    Examination,
    Operator,
    PermissionRequest,
    QueueBox,
    Role,
)
from rabibridge_core.operations.queues import QueueState

__all__ = [
    "DeadLetter",
    "DeadLetterBox",
    "Examination",
    "Finding",
    "LetterContents",
    "LetterFilter",
    "LetterList",
    "LetterRefusal",
    "OperationError",
    "Operator",
    "PermissionRequest",
    "QueueBox",
    "QueueState",
    "Report",
    "RequeueReport",
    "Role",
    "Status",
]
