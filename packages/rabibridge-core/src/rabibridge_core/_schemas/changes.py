"""Compares what two versions of services offer, and says what breaks their callers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge_core._schemas.subtypes import Subtypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rabibridge_core._schemas.services import DescribedParameter, DescribedService

__all__ = ["SchemaChange", "changes_between"]

_POSITIONAL = ("positional-only", "either")
_NAMED = ("either", "keyword-only")


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference between two versions that callers notice.

    Attributes:
        service: the name of the service.
        rule: what sort of change it is, such as ``"argument-removed"``.
        breaks: whether calls that were right fail, or results arrive that were not announced. Otherwise calls go on,
            and behave differently.
        text: what has changed, in one sentence.
    """

    service: str
    rule: str
    breaks: bool
    text: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.service}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"service": self.service, "rule": self.rule, "breaks": self.breaks, "text": self.text}


def changes_between(old: Iterable[DescribedService], new: Iterable[DescribedService]) -> tuple[SchemaChange, ...]:
    """Return what callers of the old version notice of the new one, sorted by service; breaks first."""
    successors = {(each.name, each.kind): each for each in new}
    found: list[SchemaChange] = []
    for service in old:
        other = successors.get((service.name, service.kind))
        if other is not None:
            found += _Comparison(service, other).changes()
            continue
        kind = "sync" if service.kind == "async" else "async"
        other = successors.get((service.name, kind))
        if other is None:
            found.append(SchemaChange(service.name, "service-removed", True, "it was removed"))
            continue
        text = f"it is {kind} now, and was {service.kind}: calls that name the kind find no service"
        found += [SchemaChange(service.name, "kind-changed", True, text), *_Comparison(service, other).changes()]
    return tuple(sorted(found, key=lambda each: (not each.breaks, each.service, each.rule, each.text)))


class _Comparison:
    """Compares two versions of one service."""

    def __init__(self, old: DescribedService, new: DescribedService) -> None:
        self._old = old
        self._new = new

    def changes(self) -> Iterator[SchemaChange]:
        yield from self._shape()
        if self._old.parameters is not None and self._new.parameters is not None:
            yield from self._parameters(self._old.parameters, self._new.parameters)
        yield from self._result()
        yield from self._errors()
        yield from self._limits()

    def _change(self, rule: str, text: str, *, breaks: bool = True) -> SchemaChange:
        return SchemaChange(self._old.name, rule, breaks, text)

    def _shape(self) -> Iterator[SchemaChange]:
        if self._old.streams != self._new.streams:
            forms = ("returns one result", "gives items one by one")
            text = f"it {forms[self._new.streams]} now, and {('returned one', 'gave items')[self._old.streams]} before"
            yield self._change("stream-changed", text)
        if (self._old.parameters is None) != (self._new.parameters is None):
            yield self._change("arguments-unknown", "the arguments of one version are not known", breaks=False)

    def _parameters(
        self, old: tuple[DescribedParameter, ...], new: tuple[DescribedParameter, ...]
    ) -> Iterator[SchemaChange]:
        renamed = dict(_renamed(old, new))
        successors = {each.name: each for each in new}
        kinds = {each.kind for each in new}
        for parameter in old:
            successor = successors.get(renamed.get(parameter.name, parameter.name))
            if successor is None and parameter.kind in ("args", "kwargs"):
                successor = next((each for each in new if each.kind == parameter.kind), None)
            if successor is None:
                if not _is_caught(parameter, kinds):
                    yield self._change("argument-removed", f"the argument {parameter.name!r} was removed")
                continue
            if parameter.name in renamed and parameter.kind != "positional-only":
                yield self._change(
                    "argument-renamed", f"the argument {parameter.name!r} is called {successor.name!r} now"
                )
            yield from self._parameter(parameter, successor)
        yield from self._new_parameters(old, new, set(renamed.values()))
        yield from self._places(old, new, renamed)

    def _new_parameters(
        self, old: tuple[DescribedParameter, ...], new: tuple[DescribedParameter, ...], renamed: set[str]
    ) -> Iterator[SchemaChange]:
        known = {each.name for each in old} | renamed
        for parameter in new:
            if parameter.required and parameter.name not in known:
                yield self._change("argument-required", f"the new argument {parameter.name!r} must be given")

    def _places(
        self, old: tuple[DescribedParameter, ...], new: tuple[DescribedParameter, ...], renamed: dict[str, str]
    ) -> Iterator[SchemaChange]:
        """Say which argument has another place, of those that are still given by place."""
        before = [renamed.get(each.name, each.name) for each in old if each.kind in _POSITIONAL]
        after = [each.name for each in new if each.kind in _POSITIONAL]
        for place, name in enumerate(before):
            if name in after and after.index(name) != place:
                yield self._change(
                    "argument-moved",
                    f"the argument {name!r} is number {after.index(name) + 1} now, and was {place + 1}",
                )
                return

    def _parameter(self, old: DescribedParameter, new: DescribedParameter) -> Iterator[SchemaChange]:
        what = f"the argument {new.name!r}"
        if new.required and not old.required and old.kind not in ("args", "kwargs"):
            yield self._change("argument-required", f"{what} must be given now")
        if old.kind in _POSITIONAL and new.kind not in (*_POSITIONAL, "args"):
            yield self._change("argument-kind", f"{what} can no longer be given by place")
        if old.kind in _NAMED and new.kind not in (*_NAMED, "kwargs"):
            yield self._change("argument-kind", f"{what} can no longer be given by name")
        if old.upload != new.upload:
            text = f"{what} {'is fed item by item now' if new.upload else 'is one value now, and was fed item by item'}"
            yield self._change("upload-changed", text)
            return
        misfit = Subtypes(self._old.definitions, self._new.definitions).misfit(old.schema, new.schema)
        if misfit:
            place, _, value = misfit.partition(": ")
            yield self._change("argument-narrowed", f"{what} no longer takes {value}{f' at {place}' if place else ''}")
        if not old.required and not new.required and not _same(old.schema, new.schema, "default"):
            before, after = (_shown(each.schema) for each in (old, new))
            yield self._change("default-changed", f"the default of {what} is {after}, and was {before}", breaks=False)

    def _result(self) -> Iterator[SchemaChange]:
        misfit = Subtypes(self._new.definitions, self._old.definitions).misfit(self._new.result, self._old.result)
        if misfit:
            place, _, value = misfit.partition(": ")
            what = "an item" if self._old.streams else "the result"
            yield self._change("result-widened", f"{what} may be {value} now{f' at {place}' if place else ''}")

    def _errors(self) -> Iterator[SchemaChange]:
        before = {each.code: each for each in self._old.errors}
        for error in self._new.errors:
            if error.code not in before:
                yield self._change("error-added", f"it may raise {error.code!r} now", breaks=False)
                continue
            compare = Subtypes(self._new.definitions, self._old.definitions)
            if misfit := compare.misfit(error.schema, before[error.code].schema):
                text = f"the fields of its error {error.code!r} do not fit those of before{misfit}"
                yield self._change("error-changed", text)

    def _limits(self) -> Iterator[SchemaChange]:
        old, new = self._old.limits, self._new.limits
        for name in ("queue_size", "timeout", "run_timeout"):
            before, after = (each.get(name) if type(each.get(name)) in (int, float) else None for each in (old, new))
            if after is not None and (before is None or after < before):
                yield self._change(
                    "limit-lowered",
                    f"{name} is {after}, and was {'no limit' if before is None else before}",
                    breaks=False,
                )
        for name in ("delivery", "idempotent"):
            if name in old and name in new and old[name] != new[name] and (name != "idempotent" or old[name]):
                yield self._change("guarantee-changed", f"{name} is {new[name]}, and was {old[name]}", breaks=False)
        if old.get("resumable") and not new.get("resumable"):
            yield self._change("resumable-removed", "its streams can no longer be begun in the middle")
        for name in self._old.classes:
            if name not in self._new.classes:
                yield self._change("class-removed", f"it has no class {name!r} any more", breaks=False)


def _renamed(old: tuple[DescribedParameter, ...], new: tuple[DescribedParameter, ...]) -> Iterator[tuple[str, str]]:
    """Yield the arguments given by place that have another name: one is gone, and a new one has its place."""
    names_before, names_after = ({each.name for each in version} for version in (old, new))
    before, after = ([each for each in version if each.kind in _POSITIONAL] for version in (old, new))
    for one, other in zip(before, after, strict=False):
        if one.name not in names_after and other.name not in names_before:
            yield one.name, other.name


def _is_caught(parameter: DescribedParameter, kinds: set[str]) -> bool:
    """Tell whether ``*args`` and ``**kwargs`` take what an argument took that is gone."""
    if parameter.kind == "keyword-only":
        return "kwargs" in kinds
    if parameter.kind == "positional-only":
        return "args" in kinds
    return parameter.kind == "either" and {"args", "kwargs"} <= kinds


def _same(one: dict[str, Any], other: dict[str, Any], keyword: str) -> bool:
    return (keyword in one) == (keyword in other) and _dumped(one.get(keyword)) == _dumped(other.get(keyword))


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(schema: dict[str, Any]) -> str:
    return json.dumps(schema["default"])[:60] if "default" in schema else "another value"
