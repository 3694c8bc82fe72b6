"""Errors of calls as HTTP responses, for any framework: a status, problem details (RFC 9457) and headers.

``docs/gateways.md`` has the table of errors and statuses, and shows it with aiohttp, Litestar, Flask and Django.
"""

from __future__ import annotations

from rabibridge._gateway.problems import Problem, problem_of

__all__ = ["Problem", "problem_of"]

Problem.__module__ = problem_of.__module__ = __name__  # where users find them
