"""From one YAML file to a supervised distributed PyTorch training.

Names are imported when they are used: `import launcher` in a rank or on a login node loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.api import Run as Run
    from launcher.api import open as open  # noqa: A004  # the name that CONTRACTS promises
    from launcher.api import run as run
    from launcher.api import submit as submit
    from launcher.api import sweep as sweep
    from launcher.errors import BackendError as BackendError
    from launcher.errors import Cancelled as Cancelled
    from launcher.errors import LaunchError as LaunchError
    from launcher.errors import SpecError as SpecError
    from launcher.errors import Stopped as Stopped
    from launcher.errors import UsageError as UsageError
    from launcher.loading import load_model as load_model
    from launcher.rank import pulse as pulse
    from launcher.rank import should_stop as should_stop

    __version__: str

HOMES = {
    "api": ("Run", "open", "run", "submit", "sweep"),
    "errors": ("BackendError", "Cancelled", "LaunchError", "SpecError", "Stopped", "UsageError"),
    "loading": ("load_model",),
    "rank": ("pulse", "should_stop"),
}
NAMES = {name: home for home, names in HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604  # the one table above has them
    *NAMES,
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("launcher")
    if name not in NAMES:
        raise AttributeError(f"module 'launcher' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"launcher.{NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
