"""Builds the documentation site: ``python -m tools.site.build``, or ``make docs``.

A link that leads nowhere, and a name that the reference cannot find, end the build. Pages load nothing from elsewhere:
the site, and its search, work from a folder and without a network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.site import sources

FOLDER = sources.ROOT / "build/site-sources"
SITE = sources.ROOT / "build/site"

_SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')
_LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(?P<address>https?://[^"' >]+)""")
_MAY = re.compile(r"""<link\b[^>]*rel=["']?canonical""")


def build() -> Path:
    """Build the site; return its folder.

    Raises:
        SystemExit: a page has a fault, which was printed, or loads something from elsewhere.
    """
    configuration = sources.write(FOLDER)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "-f", configuration.name]
    built = subprocess.run(command, cwd=FOLDER, check=False)
    if built.returncode:
        raise SystemExit("the documentation has the faults above")
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(FOLDER / "site", SITE)
    for page in SITE.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        # Our own docs/assets/frame_worker.js does this; theirs would be loaded from elsewhere.
        text = _SHIM.sub("", text)
        page.write_text(text, encoding="utf-8")
        if loaded := [found["address"] for found in _LOADED.finditer(text) if not _MAY.match(found[0])]:
            raise SystemExit(f"{page.relative_to(SITE)} loads {', '.join(loaded)}: pages must work without a network")
    return SITE


if __name__ == "__main__":
    print(f"file://{build()}/index.html")
