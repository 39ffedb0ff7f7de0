from __future__ import annotations

import re
from typing import Annotated

from launcher.spec.base import Said

OF_TORCHVISION = re.compile(r"\w+_Weights\.\w+")
"""A member of one of its enumerations, such as `ResNet18_Weights.DEFAULT`."""

WeightsName = Annotated[
    str,
    Said(
        "a run, a checkpoint's folder, a .safetensors or .pth file, or a name of torchvision's weights",
        "ResNet18_Weights.DEFAULT",
    ),
]
