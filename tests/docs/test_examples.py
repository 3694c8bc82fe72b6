"""The examples that no page shows run, too."""

from __future__ import annotations

from tests.docs.blocks import ROOT
from tests.docs.processes import clean_environment, run_python, running

SHOP = ROOT / "examples" / "shop"


def test_the_shop(vhost_url: str) -> None:
    environment = clean_environment(vhost_url)
    with running(SHOP / "shop_server.py", environment):
        printed = run_python(["shop_client.py"], SHOP, environment)
    assert printed.splitlines() == [
        "2 x tea: 5.00",
        "there is only 1 tea left",
        "{'tea': 1, 'cup': 1}",
    ]
