"""The names that the package offers."""

from __future__ import annotations

import inspect
import pickle

import rabibridge
from rabibridge import RMQBase, RMQClient, RMQServer


def test_the_names_of_the_package() -> None:
    for name in rabibridge.__all__:
        offered = getattr(rabibridge, name)
        if inspect.isclass(offered) or inspect.isroutine(offered):
            assert offered.__name__ == name


def test_the_classes_are_those_of_mq() -> None:
    for cls in (RMQBase, RMQClient, RMQServer):
        assert cls.__module__ == "rabibridge.mq"
        assert pickle.loads(pickle.dumps(cls)) is cls
