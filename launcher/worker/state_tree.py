"""A state_dict as JSON plus named tensors: nothing that has to be executed to be read.

tensor        {"$tensor": name, "device": "cpu"}     otherwise laid out: also "stride"; complex: also "complex": true
tuple         {"$tuple": [...]}
keys not text {"$dict": [[key, value], ...]}
inf, nan      {"$float": "inf"}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Unstorable(TypeError):
    """A value that only pickle could hold; says where it stands."""


def encode(value: Any, tensors: dict[str, Tensor], *, at: str) -> Any:
    """JSON for `value`; its tensors go to `tensors`, under dotted names that begin with `at`. Raises Unstorable."""
    match value:
        case Tensor():
            return _encode_tensor(value, tensors, at)
        case float() if not math.isfinite(value):
            return {"$float": repr(float(value))}
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return {"$tuple": encode(list(value), tensors, at=at)}
        case list():
            return [encode(item, tensors, at=f"{at}.{index}") for index, item in enumerate(value)]
        case Mapping():
            return _encode_mapping(value, tensors, at)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist(), tensors, at=at)
    raise Unstorable(
        f"{at} holds a {type(value).__module__}.{type(value).__qualname__}, which no checkpoint without code can hold"
    )


def _encode_tensor(tensor: Tensor, tensors: dict[str, Tensor], at: str) -> dict[str, Any]:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise Unstorable(f"{at} holds a sparse or quantized tensor, which the safetensors format cannot hold")
    tensors[at] = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    reference: dict[str, Any] = {"$tensor": at, "device": tensor.device.type}
    # Not is_contiguous(), to which strides along an axis of length 1 do not matter.
    if tensor.stride() != torch.empty(tensor.shape, device="meta").stride():
        reference["stride"] = list(tensor.stride())
    return reference | ({"complex": True} if tensor.is_complex() else {})


def _encode_mapping(value: Mapping[Any, Any], tensors: dict[str, Tensor], at: str) -> dict[str, Any]:
    encoded = [(key, encode(item, tensors, at=f"{at}.{key}")) for key, item in value.items()]
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return dict(encoded)
    return {"$dict": [[encode(key, tensors, at=f"{at}.key"), item] for key, item in encoded]}


def decode(value: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """The value again, its tensors on the kind of device that they came from (`device` for what was not on the host)."""
    match value:
        case list():
            return [decode(item, tensors, device) for item in value]
        case {"$tensor": name}:
            return _decode_tensor(value, tensors[name], torch.device("cpu") if value["device"] == "cpu" else device)
        case {"$tuple": items}:
            return tuple(decode(items, tensors, device))
        case {"$float": text}:
            return float(text)
        case {"$dict": pairs}:
            return {decode(key, tensors, device): decode(item, tensors, device) for key, item in pairs}
        case dict():
            return {key: decode(item, tensors, device) for key, item in value.items()}
    return value


def _decode_tensor(reference: dict[str, Any], stored: Tensor, device: torch.device) -> Tensor:
    """In memory of its own: the reader's tensors are a mapped file, which retention may remove."""
    stored = torch.view_as_complex(stored) if reference.get("complex") else stored
    if "stride" not in reference:
        return stored.to(device, copy=True)
    # Strides as they were: element for element the arithmetic is the same, but kernels choose their path by them.
    return torch.empty_strided(stored.shape, reference["stride"], dtype=stored.dtype, device=device).copy_(stored)
