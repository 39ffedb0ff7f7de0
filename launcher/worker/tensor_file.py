"""The safetensors format, written from one block of host memory.

    8 bytes   length of the header, little endian
    header    JSON: {name: {dtype, shape, data_offsets}}, padded with blanks to a multiple of 8
    data      the tensors, one after the other, without holes

The library's save_file hides the error number of a full disk and leaves the hash to a second pass over the file. Here the copy
lands at once where the file will have it, and a thread writes and hashes it in chunks, each of which lets go of the
interpreter's lock.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

CHUNK_BYTES = 4 << 20
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.complex64: "C64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.bool: "BOOL",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


class Written(TypedDict):
    """A file as the manifest has it."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where each tensor stands in a file."""

    header: bytes
    spans: dict[str, tuple[int, int]]
    """Begin and end of each tensor, in bytes from the start of the data."""
    data_bytes: int

    @property
    def file_bytes(self) -> int:
        return len(self.header) + self.data_bytes


def lay_out(tensors: Mapping[str, Tensor]) -> Layout:
    """Widest elements first, as the library does it: then every tensor is aligned to its elements.

    Raises TypeError where the format has no such dtype.
    """
    spans, entries, end = {}, {}, 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        if tensor.dtype not in NAMES:
            raise TypeError(f"{name} is a {tensor.dtype} tensor, which the safetensors format cannot hold")
        begin, end = end, end + tensor.element_size() * math.prod(tensor.shape)
        spans[name] = (begin, end)
        entries[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Layout(header=len(text).to_bytes(8, "little") + text, spans=spans, data_bytes=end)


class HostCopy:
    """A block of host memory that is laid out like the file; kept from save to save, so that a copy costs no page faults."""

    def __init__(self, *, pinned: bool) -> None:
        self.pinned = pinned
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.layout = Layout(header=b"", spans={}, data_bytes=0)
        self.views: dict[str, Tensor] = {}

    def reserve(self, data_bytes: int) -> None:
        """Takes the memory and touches it: at first touch a page costs more than the copy into it."""
        self.views, self.layout = {}, Layout(header=b"", spans={}, data_bytes=0)
        self.memory = self.block(data_bytes)
        pages = self.memory.numpy()
        for begin in range(0, data_bytes, CHUNK_BYTES):
            pages[begin : begin + CHUNK_BYTES] = 0

    def block(self, data_bytes: int) -> Tensor:
        """Page-locked where there is so much of that: torch asks for the next power of two. Copies into other memory take longer,
        and are waited for."""
        try:
            return torch.empty(data_bytes, dtype=torch.uint8, pin_memory=self.pinned)
        except RuntimeError as error:
            if not self.pinned:
                raise
            print(f"checkpoints are held in memory that is not page-locked, which takes longer: {error}", file=sys.stderr)
            self.pinned = False
            return torch.empty(data_bytes, dtype=torch.uint8)

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Starts copying; on CUDA the copies are done once the current stream has come so far. Raises TypeError."""
        layout = lay_out(tensors)
        if layout != self.layout:
            if layout.data_bytes > len(self.memory):
                self.memory = self.block(layout.data_bytes)
            self.layout, self.views = layout, views(self.memory, layout, tensors)
        for name, tensor in tensors.items():
            self.views[name].copy_(tensor.detach(), non_blocking=True)

    def chunks(self) -> Iterator[memoryview]:
        yield memoryview(self.layout.header)
        data = self.memory.numpy().data
        for begin in range(0, self.layout.data_bytes, CHUNK_BYTES):
            yield data[begin : min(begin + CHUNK_BYTES, self.layout.data_bytes)]


def views(memory: Tensor, layout: Layout, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The block, seen as tensors."""
    return {name: memory[begin:end].view(like[name].dtype).view(like[name].shape) for name, (begin, end) in layout.spans.items()}


def write(path: Path, chunks: Iterator[memoryview]) -> Written:
    """Writes and hashes in one pass and fsyncs. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb", buffering=0) as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            write_all(file, chunk)
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def write_all(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]
