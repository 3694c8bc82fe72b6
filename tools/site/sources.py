"""The sources of the documentation site: the pages of docs/, made to fit where they are read.

``python -m tools.site.sources FOLDER`` writes them there, with the configuration of the site generator. The pages are
read on the site and in the repository, where their links lead to files beside them: on the site they lead to other
pages, or to the repository.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from functools import cache
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

import yaml

from tools.site import reference

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "threat-model.md",
    "deploy/README.md": "deploying.md",
}
"""Files elsewhere in the repository that are pages of the site; where docs/ has that page, it is the one."""

_LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\]\[]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^ {0,6}(?P<marks>`{3,})")
_DIRECTIVE = re.compile(r"^# (?:needs|pytest|script): .+$")


def repository() -> str:
    """Return the address of the repository, from the metadata of the packages."""
    metadata = tomllib.loads((ROOT / "packages/rabibridge-core/pyproject.toml").read_text(encoding="utf-8"))
    address: str = metadata["project"]["urls"]["Source"]
    return address.rstrip("/")


def pages() -> list[Path]:
    """Return the pages in docs/."""
    return sorted((ROOT / "docs").rglob("*.md"))


def write(folder: Path) -> Path:
    """Write the sources into ``folder``, which is emptied; return the configuration file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder / "docs")
    for source, page in ELSEWHERE.items():
        if not (folder / "docs" / page).exists():
            shutil.copyfile(ROOT / source, folder / "docs" / page)
    places = {page: source for source, page in ELSEWHERE.items() if page != "index.md"}
    for path in sorted((folder / "docs").rglob("*.md")):
        page = path.relative_to(folder / "docs").as_posix()
        text = path.read_text(encoding="utf-8")
        path.write_text(_on_the_site(text, places.get(page, f"docs/{page}"), page), encoding="utf-8")
    for page, text in reference.pages().items():
        path = folder / "docs" / page
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return _write_configuration(folder)


def _write_configuration(folder: Path) -> Path:
    """Write the configuration: mkdocs.yml, with the API reference in its navigation and the places of this folder."""
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    configuration["nav"].append({"API": reference.navigation()})
    for plugin in configuration["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            handler = plugin["mkdocstrings"]["handlers"]["python"]
            handler["paths"] = [str(ROOT / path) for path in handler["paths"]]
            options = handler["options"]
            options["extensions"] = [str(ROOT / path) for path in options["extensions"]]
    written = folder / "mkdocs.yml"
    written.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    return written


def _on_the_site(markdown: str, source: str, page: str) -> str:
    """Return the text of a page with links that hold on the site, and without notes to the tests."""
    lines = []
    fence = ""
    for line in markdown.splitlines():
        marks = _FENCE.match(line)
        if fence:
            if marks and marks["marks"].startswith(fence):
                fence = ""
            if not _DIRECTIVE.match(line):
                lines.append(line)
        elif marks:
            fence = marks["marks"]
            lines.append(line)
        else:
            lines.append(_LINK.sub(lambda link: _link_on_the_site(link, source, page), line))
    return "\n".join(lines) + "\n"


def _link_on_the_site(link: re.Match[str], source: str, page: str) -> str:
    target, sign, anchor = link["target"].partition("#")
    if not target or ":" in target:
        return link[0]
    path = normpath(str(PurePosixPath(source).parent / target))
    here = str(PurePosixPath(page).parent)
    text = link["text"]
    if path.startswith("docs/") or path in ELSEWHERE:
        there = relpath(ELSEWHERE.get(path, path.removeprefix("docs/")), here)
        if text.endswith(".md"):  # in the repository, a page is known by its file
            text = title_of(ROOT / path)
    else:
        there = f"{repository()}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"
    return f"{link['mark']}[{text}]({there}{sign}{anchor})"


@cache
def title_of(page: Path) -> str:
    """Return the title of a page."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
