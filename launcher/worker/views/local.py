"""The views that are files of the run: CSV, TensorBoard's event files, curves."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Protocol

from launcher.rundir import RunDir
from launcher.spec.log import Log
from launcher.worker.views.follow import Row, rows_until
from launcher.worker.views.table import Table


class View(Protocol):
    def send(self, rows: list[Row]) -> None: ...
    def finish(self) -> None: ...


class Local:
    """One that fails is told of and left out; the others go on."""

    def __init__(self, run: RunDir, log: Log) -> None:
        self.run, self.plots, self.complete = run, log.plots, True
        self.views: list[View] = []
        if log.csv:
            self.views.append(Table(run.csv, run.metrics))
        if log.tensorboard:
            from launcher.worker.views.event_files import EventFiles

            self.views.append(EventFiles(run))

    def send(self, rows: list[Row]) -> None:
        self.views = [view for view in self.views if self._done(partial(view.send, rows))]

    def finish(self) -> None:
        for view in self.views:
            self._done(view.finish)
        self.draw()

    def draw(self) -> None:
        if self.plots:
            self._done(self._draw)

    def _draw(self) -> None:
        from launcher.worker.views import curves, matrices

        rows = rows_until(self.run.metrics, sys.maxsize)
        if rows:
            curves.draw(rows, self.run.plots, self.run.id)
            matrices.draw(self.run.plots, self.run.id)

    def _done(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception:  # of a file system or of a library: neither is the training's affair
            traceback.print_exc()
            self.complete = False
            return False
        return True
