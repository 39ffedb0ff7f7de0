"""Quantities with units, kept as the text that the user wrote, so that job.yaml reads back to the same job.

Duration   90s  30m  2h  1d12h  08:00:00        -> .seconds
Length     300 steps  5 epochs  10%             -> .steps(...)
Size       512M  16G                            -> .bytes
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from launcher.spec.base import shown

UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
SIZE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Quantity(str):
    """A string of a fixed form; a subclass names the form and what reading it yields."""

    __slots__ = ()
    pattern: ClassVar[str]
    wanted: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what is accepted and, where it can be guessed, what to write."""
        if isinstance(value, str) and re.fullmatch(cls.pattern, value.strip()):
            return cls(value.strip())
        raise ValueError(f"expected {cls.wanted}, got {shown(value)}{cls.hint(value)}")

    @classmethod
    def hint(cls, value: object) -> str:  # noqa: ARG003  # for subclasses
        return ""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{cls.pattern})$", "examples": list(cls.examples)}


class Duration(Quantity):
    """A span of time: `90s`, `30m`, `2h`, `1d12h` or `HH:MM:SS`."""

    __slots__ = ()
    pattern = r"(?=.)(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?|\d+:[0-5]\d:[0-5]\d"
    wanted = "a duration such as 90s, 30m, 2h, 1d12h or 08:00:00"
    examples = ("90s", "30m", "2h", "1d12h", "08:00:00")

    @classmethod
    def hint(cls, value: object) -> str:
        return f": write {value}m for minutes" if isinstance(value, int) and not isinstance(value, bool) else ""

    @property
    def seconds(self) -> float:
        if ":" in self:
            hours, minutes, seconds = (int(part) for part in self.split(":"))
            return hours * 3600.0 + minutes * 60 + seconds
        return sum(float(number) * UNIT_SECONDS[unit] for number, unit in re.findall(r"([\d.]+)([dhms])", self))


class Length(Quantity):
    """A stretch of training: `300 steps`, `5 epochs` or `10%` of the run."""

    __slots__ = ()
    pattern = r"\d+ ?steps?|\d+(\.\d+)? ?epochs?|\d+(\.\d+)?%"
    wanted = "a length such as 300 steps, 5 epochs or 10%"
    examples = ("300 steps", "5 epochs", "10%")

    @classmethod
    def hint(cls, value: object) -> str:
        return f": write {value} steps" if isinstance(value, int) and not isinstance(value, bool) else ""

    @property
    def unit(self) -> str:
        return "percent" if self.endswith("%") else "epochs" if "epoch" in self else "steps"

    @property
    def number(self) -> float:
        return float(re.match(r"[\d.]+", self)[0])  # type: ignore[index]  # the pattern begins with digits

    def steps(self, *, per_epoch: int | None, total: int | None) -> int:
        """The length in optimizer steps, rounded to the nearest.

        Raises ValueError where an epoch's length (`per_epoch`) or the run's (`total`) is not known but needed.
        """
        if self.unit == "steps":
            return int(self.number)
        known = total if self.unit == "percent" else per_epoch
        if known is None:
            raise ValueError(f"{self} needs a run of known length: write it in steps, or set max_steps")
        return round(self.number / 100 * known) if self.unit == "percent" else round(self.number * known)


class Size(Quantity):
    """An amount of memory: `512M`, `16G` (powers of 1024, as Slurm reads them)."""

    __slots__ = ()
    pattern = r"\d+[KMGT]?"
    wanted = "a size such as 512M or 16G"
    examples = ("512M", "16G")

    @property
    def bytes(self) -> int:
        number, unit = re.fullmatch(r"(\d+)([KMGT]?)", self).groups()  # type: ignore[union-attr]
        return int(number) * SIZE_UNITS[unit]


def more_than_nothing(value: Quantity) -> Quantity:
    """Of what comes again and again. Raises ValueError for `0 steps`, `0%` and `0s`."""
    if not re.search("[1-9]", value):
        raise ValueError(f"expected more than 0, got '{value}'")
    return value


def length_or_duration(value: object) -> Length | Duration:
    """Raises ValueError where it is neither."""
    if isinstance(value, str):
        for kind in (Length, Duration):
            if re.fullmatch(kind.pattern, value.strip()):
                return kind.parse(value)
    raise ValueError(f"expected {Length.wanted}, or {Duration.wanted}, got {shown(value)}")
