"""JSON files whose content is checked against types when it is read."""

import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from virnucpro.errors import UserError

Content = TypeVar("Content")

Name = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Precision = Annotated[str, Field(pattern="^(float32|bfloat16|float16)$")]


def read_json(path: str | os.PathLike[str], expected: TypeAdapter[Content], stage: str) -> Content:
    """Read a JSON file and check it against a type; error messages name the stage that writes it.

    Raises:
        UserError: The file is missing, cannot be read, or does not have this type.
    """
    try:
        return parse_json(Path(path).read_bytes(), path, expected, stage)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the {stage} stage again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def parse_json(text: str | bytes, path: str | os.PathLike[str], expected: TypeAdapter[Content], stage: str) -> Content:
    """Parse the content of a JSON file and check it, as `read_json` does."""
    try:
        return expected.validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        raise UserError(
            f"{path}: not what the {stage} stage writes: {first_problem(error)}; give that file, or delete it and run "
            "that stage"
        ) from None


def first_problem(error: ValidationError) -> str:
    """Return where the first wrong value of a JSON file is, and what is wrong with it, in one line."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), first["msg"]])
