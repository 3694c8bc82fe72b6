"""The error of RabiBridge 0.1, where its programs import it from; all errors are in :mod:`rabibridge`."""

from rabibridge_core.errors import RemoteExecutionError

__all__ = ["RemoteExecutionError"]
