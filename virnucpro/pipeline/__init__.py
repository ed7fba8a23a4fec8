"""The stages of the workflow, one module each: a stage is one function from files to files."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Loaded on first use: it loads torch, which most stages do not need.
    if name == "AsyncInferenceRunner":
        from virnucpro.encoders.runner import AsyncInferenceRunner

        return AsyncInferenceRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
