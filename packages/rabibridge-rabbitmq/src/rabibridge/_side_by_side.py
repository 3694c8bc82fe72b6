"""Refuses to run beside RabiBridge 0.1, whose distribution installs a package of the same name.

pip lets both into one environment: the files of the one that was installed last replace those of the other, and what
remains is a mixture. This module imports nothing of RabiBridge, as either version of it may be there.
"""

from __future__ import annotations

import os
import sys

__all__ = ["refuse_version_0"]


def refuse_version_0() -> None:
    """Check that no distribution RabiBridge 0 is installed where a package ``rabibridge`` is.

    Raises:
        ImportError: one is.
    """
    for folder in sys.path:
        if not os.path.isdir(os.path.join(folder, "rabibridge")):
            continue
        for name in os.listdir(folder or os.curdir):
            if name.lower().startswith("rabibridge-0.") and name.endswith((".dist-info", ".egg-info", ".egg")):
                version = name.split("-")[1].removesuffix(".dist").removesuffix(".egg")
                raise ImportError(
                    f"RabiBridge {version} is installed in {folder} beside rabibridge-rabbitmq, and both install a "
                    "package 'rabibridge', whose files are now mixed; run: pip uninstall RabiBridge "
                    "rabibridge-rabbitmq, then: pip install rabibridge-rabbitmq"
                )
