"""Describes what was built: ``sbom.cdx.json``, in the form of CycloneDX 1.6, and ``SHA256SUMS`` for ``sha256sum -c``.

The bill of materials lists our distributions with the SHA-256 of their wheels, and what they need with all extras, in
the versions that the environment has in which they were built and tested.
"""

# cyclonedx makes its constructors by decorators, which pyright does not follow:
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from packageurl import PackageURL
from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.runtime import OWN, runtime_distributions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import Distribution

BILL, SUMS = "sbom.cdx.json", "SHA256SUMS"
_LONGEST_LICENCE = 100  # some put the whole text into that field


def bill_of_materials(wheels: Mapping[str, Path]) -> str:
    """Return the bill as JSON, the same for the same environment and wheels.

    Args:
        wheels: the wheels of our distributions by name; without one, a distribution has no hash.

    Raises:
        ValueError: what was made is not valid.
    """
    found = runtime_distributions()
    parts = {name: _component(name, one, wheels.get(name)) for name, (one, _) in found.items()}
    whole = Component(
        name="rabibridge", version=found[OWN[0]][0].version, type=ComponentType.LIBRARY, bom_ref="rabibridge"
    )
    bom = Bom(components=parts.values())
    bom.metadata.component = whole
    bom.register_dependency(whole, [parts[name] for name in OWN])
    for name, (_, needs) in found.items():
        bom.dependencies.add(Dependency(parts[name].bom_ref, [Dependency(parts[need].bom_ref) for need in needs]))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # it would differ each time; cyclonedx-py does the same
    marks = [f"{part.name}=={part.version} {[one.content for one in part.hashes]}" for part in parts.values()]
    bom.serial_number = uuid5(NAMESPACE_URL, " ".join(marks))
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    # Its import takes over a second, which every process of the test run would spend at its start.
    from cyclonedx.validation.json import JsonStrictValidator

    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the bill of materials is not valid: {problem}")
    return text + "\n"


def describe(folder: Path) -> None:
    """Write both files into the folder with the wheels and source distributions."""
    wheels: dict[str, Path] = {
        canonicalize_name(parse_wheel_filename(file.name)[0]): file for file in sorted(folder.glob("*.whl"))
    }
    (folder / BILL).write_text(bill_of_materials(wheels), encoding="utf-8", newline="\n")
    files = sorted(file for pattern in ("*.whl", "*.tar.gz", BILL) for file in folder.glob(pattern))
    (folder / SUMS).write_text(
        "".join(f"{_sha256(file)}  {file.name}\n" for file in files), encoding="utf-8", newline="\n"
    )


def _component(name: str, one: Distribution, wheel: Path | None) -> Component:
    licence = _field(one, "License-Expression") or _field(one, "License")
    return Component(
        name=name,
        version=one.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={one.version}",
        purl=PackageURL("pypi", None, name, one.version),
        description=_field(one, "Summary") or None,
        licenses=[LicenseFactory().make_from_string(licence)] if 0 < len(licence) < _LONGEST_LICENCE else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=_sha256(wheel))] if wheel else [],
    )


def _field(one: Distribution, name: str) -> str:
    values: list[str] = one.metadata.get_all(name) or [""]
    return values[0]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    describe(Path(sys.argv[1]))
