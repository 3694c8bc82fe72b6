"""A mutation check of the engines: small changes of their code, each of which the simulator or a test should notice.

``python -m tools.mutation`` collects the tests once, in a process that has imported everything, and forks a child for
each mutant. The child gives the functions of the module their changed code, in place, so that whoever holds a function
holds the mutant. It runs the seeds of ``tests/simulation`` that reach the changed line, then the tests that do, until
one fails. Statements outside of functions are not changed: they run before the fork.
"""

from __future__ import annotations

from tools.mutation.mutants import Mutant, changed_code, mutants_of
from tools.mutation.replacing import functions_of, replace_code

__all__ = ["Mutant", "changed_code", "functions_of", "mutants_of", "replace_code"]
