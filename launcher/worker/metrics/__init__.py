"""What is measured beside the loss: exact over all samples of an evaluation, however they are spread over ranks.

functions of counts      accuracy, precision, f1 ...: how often each class is wanted, found and right is counted once for all of
                         them, without waiting for the device; torchmetrics computes each from the counts, in float64
torchmetrics objects     their states are added up over ranks, counts in float64, and computed once
anything else callable   f(outputs, targets) of the whole set, on rank 0: exact for any function, at the price of keeping outputs
"""

from launcher.worker.metrics.measure import Measure
from launcher.worker.metrics.measures import Beside, Measures, make_measures

__all__ = ["Beside", "Measure", "Measures", "make_measures"]
