"""A warm fork server for every process that these tests start: importing torch anew would take longer than the tests.

And one thread for each: several wait for each other at every operation, the longer the more processes share the cores; and the
last bits of a test would depend on which ran before it.
"""

from __future__ import annotations

import multiprocessing

import torch

torch.set_num_threads(1)
multiprocessing.set_forkserver_preload(
    [
        "torch",
        "launcher.worker.first_optimizer",
        "launcher.worker.train",
        "launcher.worker.data.digits",
        "sklearn.model_selection",
        "torchvision.transforms.v2",
        "pytest",
    ]
)
