"""tensorboard/: the rows as TensorBoard's event files, without torch."""

from __future__ import annotations

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from launcher.worker.views.follow import Row, values

SUFFIX = ".launcher"


class EventFiles:
    """Each attempt writes the whole history anew: an earlier attempt's file may lack rows, or have more than its checkpoint.

    TensorBoard drops what it knows from a session's start on, so that even where both files stand, each step shows once.
    """

    def __init__(self, folder: Path) -> None:
        self.older = list(folder.glob(f"*{SUFFIX}"))
        self.writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
        self.writer.add_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))

    def send(self, rows: list[Row]) -> None:
        for row in rows:
            items = [Summary.Value(tag=key, simple_value=value) for key, value in values(row).items()]
            self.writer.add_event(Event(step=row["step"], summary=Summary(value=items)))
        self.writer.flush()
        for path in self.older:
            path.unlink(missing_ok=True)
        self.older = []

    def finish(self) -> None:
        self.writer.close()
