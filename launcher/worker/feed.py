"""The portions of a training from where it stands, and what is done when one of them does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from launcher.rundir import RunDir, write_json
from launcher.worker.batch_norm import norms
from launcher.worker.blame import out_of_memory
from launcher.worker.build import Training
from launcher.worker.data.loader import Loader
from launcher.worker.data.portions import Portion
from launcher.worker.ddp import KeptBuffer, kept_buffers, put_back
from launcher.worker.errors import WorkerError
from launcher.worker.state import TrainState
from launcher.worker.step import HalfUpdated, Loss, take_step


@dataclass
class Feed:
    run: RunDir
    training: Training
    state: TrainState
    loader: Loader = field(init=False)
    portions: Iterator[Portion] = field(init=False)

    def __post_init__(self) -> None:
        self.loader = self.training.train
        self.restart()

    def restart(self) -> None:
        self.portions = self.loader.portions(self.state.epoch, self.state.batch)

    def step(self, portion: Portion) -> tuple[Loss, Any]:
        """take_step; where memory does not suffice, one rank alone goes on with half the micro-batch, and the step is done anew.

        Several ranks cannot, since the others sit in a collective, nor can a state that is updated in part: then the next attempt
        begins with the halved micro-batch.
        """
        kept = self.kept_buffers()
        while True:
            try:
                return take_step(self.run, self.training, self.state, portion)
            except RuntimeError as error:
                if not isinstance(error, HalfUpdated) and not out_of_memory(error):
                    raise
                halved = self.halved(portion, error)
            self.state.optimizer.zero_grad()
            put_back(kept)
            if self.training.world.device.type == "cuda":
                torch.cuda.empty_cache()
            self.loader = self.loader.with_micro_batch(halved)
            self.restart()
            portion = next(self.portions)

    def kept_buffers(self) -> list[KeptBuffer]:
        """What a step that breaks off may have changed: batch norm's running statistics."""
        if self.training.world.world_size > 1 or self.training.spec.data.micro_batch_size != "auto":
            return []
        return kept_buffers(self.training.model)

    def halved(self, portion: Portion, error: RuntimeError) -> int:
        """The next micro-batch size, written down for all attempts to come. Raises WorkerError where this one cannot go on."""
        world, largest = self.training.world, max(len(ids) for ids in portion.ids)
        if self.training.spec.data.micro_batch_size != "auto":
            raise WorkerError(
                f"out of memory with a micro-batch of {largest} samples: write train.data.micro_batch_size: auto, or a smaller "
                f"one (the gradient stays the same). {error}",
                kind="error",
            ) from error
        if largest <= 1:
            raise WorkerError(
                f"out of memory with a micro-batch of a single sample: the model does not fit. {error}", kind="error"
            ) from error
        size = -(-largest // 2)
        write_json(self.run.micro_batch, {"micro_batch_size": size})
        norm = (
            ", whose gradient is the same; batch norm's statistics now come from smaller micro-batches"
            if norms(self.training.model)
            else ", whose gradient is the same"
        )
        sentence = f"out of memory with a micro-batch of {largest} samples on rank {world.rank}: going on with {size}{norm}"
        if world.world_size > 1 or isinstance(error, HalfUpdated):
            raise WorkerError(sentence, kind="oom", details={"rank": world.rank, "micro_batch_size": size}) from error
        print(sentence, flush=True)
        return size
