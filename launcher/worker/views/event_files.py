"""tensorboard/: the rows as TensorBoard's event files, without torch; also histograms and the graph, where rank 0 leaves them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from launcher.rundir import RunDir
from launcher.worker.views.follow import Follower, Row, values

SUFFIX = ".launcher"


class EventFiles:
    """Each attempt writes the whole history anew: an earlier attempt's file may lack rows, or have more than its checkpoint.

    TensorBoard drops what it knows from a session's start on, so that even where both files stand, each step shows once.
    """

    def __init__(self, run: RunDir) -> None:
        self.graph, self.has_graph = run.graph, False
        self.older = list(run.tensorboard.glob(f"*{SUFFIX}"))
        self.histograms = Follower(run.histograms)
        self.writer = EventFileWriter(str(run.tensorboard), filename_suffix=SUFFIX)
        self.writer.add_event(Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)))

    def send(self, rows: list[Row]) -> None:
        for row in rows:
            items = [Summary.Value(tag=key, simple_value=value) for key, value in values(row).items()]
            self.writer.add_event(Event(wall_time=time.time(), step=row["step"], summary=Summary(value=items)))
        self.send_beside()
        self.writer.flush()
        for path in self.older:
            path.unlink(missing_ok=True)
        self.older = []

    def send_beside(self) -> None:
        for row in self.histograms.rows():
            self.writer.add_event(Event(wall_time=time.time(), step=row["step"], summary=Summary(value=[*histograms(row)])))
        if not self.has_graph and self.graph.exists():
            self.has_graph = True
            self.writer.add_event(Event(wall_time=time.time(), graph_def=self.graph.read_bytes()))

    def finish(self) -> None:
        self.send_beside()
        self.writer.close()


def histograms(row: Row) -> Iterator[Summary.Value]:
    for kind in ("weights", "gradients"):
        yield from (Summary.Value(tag=f"{kind}/{name}", histo=histogram(each)) for name, each in row[kind].items())


def histogram(counted: dict[str, Any]) -> HistogramProto:
    low, high, counts = counted["low"], counted["high"], counted["counts"]
    limits = [low + (high - low) * (number + 1) / len(counts) for number in range(len(counts))]
    return HistogramProto(
        min=low, max=high, num=sum(counts), sum=counted["sum"], sum_squares=counted["squares"],
        bucket_limit=limits, bucket=counts,
    )  # fmt: skip
