"""A warm fork server for every process that these tests start: importing torch anew would take longer than the tests."""

from __future__ import annotations

import multiprocessing

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
