"""Every random stream of a training is a function of the seed and of what it is for, never of what was drawn before.

    weights             the seed itself, so that a module written by hand after torch.manual_seed(seed) begins alike
    making data sets    (seed)                             what their constructors draw
    order of an epoch   (seed, epoch)                      see data/order.py
    draws of an epoch   (seed, epoch, position)            see data/sampling.py
    a sample            (seed, epoch, sample)              augmentation and a data set's own draws
    a micro-step        (seed, step, micro-step, rank)     dropout

The CPU generator of torch uses only 32 bits of its seed, so everything is hashed down to 32 bits; adding high bits would be lost.
"""

from __future__ import annotations

import random

import numpy as np
import torch

MASK = (1 << 64) - 1
ORDER, SAMPLE, STEP, DATA = 1, 2, 3, 4
SAMPLING, SMOTE = 11, 12
"""What a stream is for: keeps streams with equal numbers apart."""


def mix(value: int) -> int:
    """splitmix64's step: a bijection of 64 bits in which every input bit moves every output bit."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def hash64(*parts: int) -> int:
    value = 0
    for part in parts:
        value = mix(value ^ (part & MASK))
    return value


def key(*parts: int) -> int:
    """32 bits for a generator's seed."""
    return hash64(*parts) >> 32


def seed_default_generators(value: int) -> None:
    """torch (CPU and, once in use, CUDA), random and numpy. 5 us; torch.manual_seed alone takes 190."""
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(value)
    random.seed(value)
    np.random.seed(value)


def seed_model(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
