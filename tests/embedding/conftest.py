"""Random proteins, a small random model, and fair-esm's embeddings of the proteins by the model."""

import random
from pathlib import Path

import esm
import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests import oracle
from tests.conftest import AMINO_ACIDS


@pytest.fixture(scope="session")
def fair_esm() -> esm.ESM2:
    return oracle.random_model(2, 32, 2)


@pytest.fixture(scope="session")
def model(fair_esm: esm.ESM2, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(oracle.save_as_fair_esm(fair_esm, tmp_path_factory.mktemp("model") / "tiny.pt"))


@pytest.fixture(scope="session")
def proteins() -> dict[str, str]:
    """A hundred proteins of random lengths, two of them equal."""
    rng = random.Random(3)
    made = {f"p{number}": "".join(rng.choices(AMINO_ACIDS, k=rng.randint(1, 120))) for number in range(100)}
    return made | {"p77": made["p11"]}


@pytest.fixture
def fasta(proteins: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "proteins.faa"
    path.write_text("".join(f">{name} a protein\n{sequence.lower()}*\n" for name, sequence in proteins.items()))
    return path


@pytest.fixture(scope="session")
def of_residues(fair_esm: esm.ESM2, proteins: dict[str, str]) -> list[npt.NDArray[np.float64]]:
    """Fair-esm's embeddings of every residue of every protein, [residues, embed_dim] each."""
    tokens = oracle.representations(fair_esm, list(proteins.values()), torch.float64)
    return [representation[1:-1].numpy() for representation in tokens]
