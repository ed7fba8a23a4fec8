"""The folder of a sample, a small model, and the stages in between."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import oracle
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.provenance import read_provenance
from virnucpro.pipeline.embed import embed
from virnucpro.pipeline.fetch_model import fetch_model
from virnucpro.pipeline.merge import merge
from virnucpro.pipeline.pack import pack
from virnucpro.pipeline.prepare import prepare_proteins
from virnucpro.pipeline.token_budget import probe_token_budget


@dataclass
class Sample:
    """The folder of a sample, and its stages with the settings of these tests."""

    run: Path
    model: Path
    fasta: Path

    @property
    def folder(self) -> Path:
        """Folder of files that only the stages read."""
        return self.run / "work" / "soil"

    @property
    def embeddings(self) -> Path:
        return self.run / "soil" / "embeddings.h5"

    @property
    def proteins(self) -> Path:
        return self.folder / "prepared" / "proteins.faa"

    def prepare(self, proteins: dict[str, str]) -> None:
        self.fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in proteins.items()))
        prepare_proteins(self.fasta, self.folder / "prepared")

    def probe(self, tokens: int | None, output: str = "token_budget.json") -> dict[str, Any]:
        probe_token_budget(self.run / "model.json", "auto", tokens, self.run / output)
        found: dict[str, Any] = json.loads((self.run / output).read_text())
        return found

    def pack(self, **settings: Any) -> None:
        defaults = {"layers": [-1], "max_sequence_length": 64, "long_proteins": "cut", "shards": 3, "shard_tokens": 600}
        pack(self.folder, self.run / "token_budget.json", "soil", **(defaults | settings))

    def shards(self) -> list[str]:
        packed = read_provenance(self.folder / "pack.json", "pack")
        return [shard["shard"] for shard in packed.details["shards"]]

    def embed(self, shard: str, **settings: Any) -> Path:
        output = self.folder / "shards" / f"{shard}.h5"
        manifest = self.folder / "manifests" / f"{shard}.json"
        embed(manifest, self.proteins, str(self.model), output, **settings)
        return output

    def merge(self) -> EmbeddingFile:
        merge(self.folder, self.embeddings)
        return EmbeddingFile(self.embeddings)

    def embed_and_merge(self, **settings: Any) -> EmbeddingFile:
        for shard in self.shards():
            self.embed(shard, **settings)
        return self.merge()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), tmp_path_factory.mktemp("model") / "tiny.pt")


@pytest.fixture
def proteins(random_protein: Callable[[int], str]) -> dict[str, str]:
    made = {f"p{number:02d}": random_protein(5 + 7 * number % 60) for number in range(40)}
    made["long"] = random_protein(90)
    return {"z_copy": made["p03"]} | made | {"a_copy": made["p03"], "b_copy": made["p09"]}


@pytest.fixture
def sample(tmp_path: Path, model: Path, proteins: dict[str, str]) -> Sample:
    made = Sample(tmp_path, model, tmp_path / "input.faa")
    fetch_model(str(model), [-1], tmp_path / "model.json")
    made.probe(256)
    made.prepare(proteins)
    return made
