"""Modules under the names of the backends, imported when they are used: one of them is enough for a run."""

from __future__ import annotations

import importlib
from collections import UserDict
from typing import TypeVar, cast

T = TypeVar("T")


class Modules(UserDict[str, T]):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __missing__(self, name: str) -> T:
        if name not in self.names:
            raise KeyError(name)
        self.data[name] = cast(T, importlib.import_module(f"launcher.backends.{name}"))
        return self.data[name]
