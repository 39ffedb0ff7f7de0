"""What every part of a job is: a frozen mapping in which an unknown key is an error, and every error is found at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

T = TypeVar("T")


class Frozen(BaseModel):
    # Built when first used, and then only what a job holds: building each part as it is defined takes twice as long.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class Agreeing(Frozen):
    """Whose fields can disagree with each other."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterable[InitErrorDetails]:
        """In what was given, which may be wrong otherwise too."""
        raise NotImplementedError

    @model_validator(mode="wrap")
    @classmethod
    def check(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_all(cls.__name__, given, handler, cls.disagreements(given) if isinstance(given, Mapping) else ())


@dataclass(frozen=True)
class Said:
    """Annotates a type with the words that describe what it accepts, and with a value that shows it."""

    words: str
    example: str | None = None


@dataclass(frozen=True)
class About:
    """Annotates an argument's type with its doc, which the JSON Schema carries too."""

    words: str
    more: tuple[str, ...] = ()
    """Lines for whoever asks for this argument alone."""

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "description": "\n".join((self.words, *self.more))}


def empty_section(value: object) -> object:
    """`log:` with nothing below it is a section in which everything came by default."""
    return {} if value is None else value


SECTION = BeforeValidator(empty_section)


Text = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
"""A scalar that the loader takes as it was written, quotes or not."""


def shown(value: object) -> str:
    """A value as a message shows it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(str(value)) if len(value) <= 60 else f"{value[:50]!r}... ({len(value):,} characters)"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
    return str(value)


def wrong(message: str, *location: str | int, given: object = None) -> InitErrorDetails:
    """A disagreement between fields, located at one of them (at the whole, without a location)."""
    return {"type": PydanticCustomError("disagreement", "{message}", {"message": message}), "loc": location, "input": given}


def validate_all(title: str, given: Any, validate: Callable[[Any], T], found: Iterable[InitErrorDetails]) -> T:
    """What `validate` makes of `given`. Raises ValidationError with its errors and those `found` beside it.

    A check between fields therefore looks at what was given: pydantic's own "after" checks stay silent while
    any field is wrong, and the user would meet them one round later.
    """
    errors = list(found)
    try:
        result = validate(given)
    except ValidationError as error:
        raise ValidationError.from_exception_data(title, [*details(error), *errors]) from None
    if errors:
        raise ValidationError.from_exception_data(title, errors)
    return result


def details(error: ValidationError) -> list[InitErrorDetails]:
    """The errors in the form from which another ValidationError is made, types and locations kept."""
    return [
        {
            "type": PydanticCustomError(each["type"], "{message}", {**each.get("ctx", {}), "message": each["msg"]}),
            "loc": each["loc"],
            "input": each["input"],
        }
        for each in error.errors(include_url=False)
    ]
