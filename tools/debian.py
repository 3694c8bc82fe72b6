"""Folders that hold a Debian of their own, with the packages that are wanted, made by debootstrap and kept.

That takes root on Linux and a mirror of Debian: the one that apt uses here, or the one that DEBOOTSTRAP_MIRROR names.
Nothing else on this machine is changed, except that apt-get installs debootstrap if it is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.apt import apt_install

MIRROR_VARIABLE = "DEBOOTSTRAP_MIRROR"
NEWEST_SUITE = "sid"

DEBIAN_FOLDER = Path(__file__).parents[1] / ".debian"
_APT = Path("/etc/apt")
_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_TIMEOUT = 1800.0


class ImpossibleError(Exception):
    """This machine cannot have such a folder; the text says why."""


def debian_root(suite: str, package: str) -> Path:
    """Return the root of a Debian with one package and its dependencies; it is made if it does not exist yet.

    Args:
        suite: a release, by its name (``trixie``), or ``testing`` or ``sid``.
        package: the name of the package.

    Raises:
        ImpossibleError: this machine cannot have it.
    """
    root = DEBIAN_FOLDER / f"{suite}-{package}"
    if root.exists():
        return root
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ImpossibleError("debootstrap needs root on Linux")
    if not can_unshare():
        raise ImpossibleError("unshare --mount fails: a container must be privileged")
    _make(root, suite, package)
    return root


def can_unshare() -> bool:
    """Return whether a mount namespace can be made here."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def _make(root: Path, suite: str, package: str) -> None:
    debootstrap, source = _debootstrap(), mirror()
    unfinished, log = root.with_name(f"{root.name}.unfinished"), root.with_name(f"{root.name}.log")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    root.parent.mkdir(exist_ok=True)
    print(f"Installing {package} from Debian {suite} into {root} ...", file=sys.stderr, flush=True)
    # In a mount namespace of its own: what debootstrap mounts is gone with it, even if it is killed.
    command = ["unshare", "--mount", "--propagation", "private", debootstrap, "--force-check-gpg"]
    command += ["--variant=minbase", f"--include={package}", suite, str(unfinished), source]
    if not (_SCRIPTS / suite).exists():
        command.append(str(_SCRIPTS / "sid"))  # a release that is younger than this debootstrap
    with log.open("wb") as output:
        try:
            subprocess.run(
                command,
                env=os.environ | _proxies(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=_TIMEOUT,
            )
        except subprocess.SubprocessError as error:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ImpossibleError(f"debootstrap failed; its output is in {log}, and ends with:\n{last}") from error
    (unfinished / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    unfinished.rename(root)


def _debootstrap() -> str:
    found = shutil.which("debootstrap")
    if found is None and apt_install("debootstrap"):
        found = shutil.which("debootstrap")
    if found is None:
        raise ImpossibleError("debootstrap is not installed, and apt-get could not install it")
    return found


def mirror(apt: Path = _APT) -> str:
    """Return the mirror of Debian that DEBOOTSTRAP_MIRROR names, or else the one that apt uses.

    Raises:
        ImpossibleError: there is none.
    """
    if given := os.environ.get(MIRROR_VARIABLE):
        return given
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file() and (found := _mirror_in(file.read_text())):
            return found
    raise ImpossibleError(f"the sources of apt name no mirror of Debian: give one in {MIRROR_VARIABLE}")


def _mirror_in(text: str) -> str | None:
    """Return the first address of Debian itself in a file of apt's sources, of either format."""
    for line in text.splitlines():
        one_line = re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(https?://\S+)", line)
        paragraph = re.match(r"URIs:.*?(https?://\S+)", line, re.IGNORECASE)
        # Debian's archive of packages is called debian on every mirror; debian-security and others are not it.
        if (match := one_line or paragraph) and match[1].rstrip("/").endswith("/debian"):
            return match[1]
    return None


def _proxies() -> dict[str, str]:
    """Return the proxies that apt uses, as debootstrap wants them."""
    proxies: dict[str, str] = {}
    for scheme in ("http", "https"):
        command = ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
        except OSError:
            return {}  # no apt here: debootstrap reads the environment
        match = re.fullmatch(r"PROXY='(.+)'", answer.stdout.strip())
        if match and match[1] != "DIRECT":
            proxies[f"{scheme}_proxy"] = match[1]
    return proxies
