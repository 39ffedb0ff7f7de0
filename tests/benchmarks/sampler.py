"""The order of 1e9 samples: start, memory, indices per second. Reach: < 10 ms, < 10 MB, >= 10 M/s."""

from __future__ import annotations

import time
import tracemalloc

from launcher.worker.data.order import Order

SAMPLES = 10**9
BATCH = 4096
BATCHES = 500


def main() -> None:
    Order(SAMPLES, seed=1).samples(0, 0, BATCH)  # numpy's own first use
    tracemalloc.start()
    began = time.perf_counter()
    order = Order(SAMPLES, seed=0)
    order.samples(0, SAMPLES // 2, SAMPLES // 2 + BATCH)
    started_s = time.perf_counter() - began
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    began = time.perf_counter()
    for number in range(BATCHES):
        order.samples(0, number * BATCH, (number + 1) * BATCH)
    rate = BATCHES * BATCH / (time.perf_counter() - began)
    print(f"sampler at 1e9: first batch {started_s * 1e3:.2f} ms, peak {peak_mb:.2f} MB, {rate / 1e6:.1f} M indices/s")


main()
