"""pack, embed, merge and summary, each on the files of the one before."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests import oracle
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.manifest import read_manifest
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError
from virnucpro.pipeline.embed import embed
from virnucpro.pipeline.fetch_model import fetch_model
from virnucpro.pipeline.merge import merge
from virnucpro.pipeline.pack import pack
from virnucpro.pipeline.token_budget import probe_token_budget


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), tmp_path_factory.mktemp("model") / "tiny.pt")


@pytest.fixture
def proteins(random_protein: Callable[[int], str]) -> dict[str, str]:
    made = {f"p{number:02d}": random_protein(5 + 7 * number % 60) for number in range(40)}
    made["long"] = random_protein(90)
    return {"z_copy": made["p03"]} | made | {"a_copy": made["p03"], "b_copy": made["p09"]}


class Sample(SimpleNamespace):
    """The folder of a sample, and its stages with the settings of these tests."""

    def pack(self, **settings: Any) -> None:
        settings = {"max_sequence_length": 64, "shard_tokens": 600} | settings
        pack(self.proteins, self.folder / "token_budget.json", self.folder, "soil", **settings)

    def shards(self) -> list[str]:
        return pd.read_csv(self.folder / "shards.tsv", sep="\t", dtype=str)["shard"].tolist()

    def embed(self, shard: str, **settings: Any) -> Path:
        output = self.folder / "shards" / f"{shard}.h5"
        embed(self.folder / "manifests" / f"{shard}.json", self.proteins, str(self.model), output, **settings)
        return output

    def merge(self, shards: list[Path]) -> EmbeddingFile:
        output = self.folder / "embeddings.h5"
        merge(self.proteins, self.folder / "duplicates.tsv", self.folder / "windows.tsv", shards, output)
        return EmbeddingFile(output)

    def run(self, **settings: Any) -> EmbeddingFile:
        """Embed and merge what was packed."""
        return self.merge([self.embed(shard, **settings) for shard in reversed(self.shards())])


@pytest.fixture
def sample(tmp_path: Path, model: Path, proteins: dict[str, str], write_fasta: Callable[..., Path]) -> Sample:
    fetch_model(str(model), tmp_path / "model.json")
    probe_token_budget(tmp_path / "model.json", str(model), "auto", 256, tmp_path / "token_budget.json")
    return Sample(folder=tmp_path, model=model, proteins=write_fasta(proteins, "proteins.faa"))


def test_token_budget_says_where_it_comes_from(sample: Sample) -> None:
    found = json.loads((sample.folder / "token_budget.json").read_text())
    assert found["token_budget"] == 256
    assert found["reason"] == "set in the configuration"
    assert found["model"] == {
        "name": "tiny",
        "sha256": json.loads((sample.folder / "model.json").read_text())["sha256"],
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; tests/gpu asks it")
def test_token_budget_without_cuda(sample: Sample) -> None:
    probe_token_budget(sample.folder / "model.json", str(sample.model), "auto", None, sample.folder / "auto.json")
    found = json.loads((sample.folder / "auto.json").read_text())
    assert (found["device"], found["precision"], found["token_budget"]) == ("cpu", "float32", 4096)
    assert 0 < found["free_bytes"] <= found["total_bytes"]


def test_pack_embeds_every_distinct_protein_once(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    manifests = [read_manifest(path) for path in sorted((sample.folder / "manifests").iterdir())]
    assert [manifest["shard"] for manifest in manifests] == sample.shards() == ["0001", "0002", "0003"]
    packed = [s for manifest in manifests for a_bin in manifest["bins"] for s in a_bin["sequences"]]
    assert Counter(s["id"] for s in packed) == Counter(proteins.keys() - {"p03", "a_copy", "b_copy"})
    assert [s["id"] for s in packed if s["truncated"]] == ["long"]
    assert {s["length"] for s in packed if s["id"] == "long"} == {64}
    duplicates = pd.read_csv(sample.folder / "duplicates.tsv", sep="\t")
    assert duplicates.values.tolist() == [["p03", "z_copy"], ["a_copy", "z_copy"], ["b_copy", "p09"]]


def test_pack_twice_touches_nothing(sample: Sample) -> None:
    sample.pack()
    files = [*(sample.folder / "manifests").iterdir(), sample.folder / "shards.tsv"]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    sample.pack()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before


def test_fewer_shards_leave_no_old_manifest(sample: Sample) -> None:
    sample.pack()
    sample.pack(shard_tokens=100_000)
    assert [path.name for path in (sample.folder / "manifests").iterdir()] == ["0001.json"]


def test_a_budget_below_one_sequence_names_sample_and_sequence(sample: Sample) -> None:
    with pytest.raises(UserError, match="token_budget 256 is smaller than sequence long with its 302"):
        sample.proteins.write_text(">long\n" + "M" * 300 + "\n")
        sample.pack(max_sequence_length=1000)


def all_rows(file: EmbeddingFile) -> np.ndarray:
    return file.rows(np.arange(len(file.ids)))


def exact_representations(sequences: Iterable[str], layer: int = 2) -> list[np.ndarray]:
    """Return fair-esm's representations of the residues alone, in FP64."""
    found = oracle.representations(oracle.random_model(2, 32, 2), list(sequences), torch.float64, layer)
    return [representation[1:-1].numpy() for representation in found]


def test_merged_embeddings_are_those_of_fair_esm_in_input_order(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    merged = sample.run()
    assert merged.ids == list(proteins)
    assert (merged.attributes["layer"], merged.attributes["model"]) == (2, "tiny")
    exact = exact_representations(sequence[:64] for sequence in proteins.values())
    np.testing.assert_allclose(all_rows(merged), [rows.mean(0) for rows in exact], atol=1e-5)


def test_chosen_layers_and_residues(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    merged = sample.run(layers=[0, 1, -1], per_residue=True)
    assert merged.attributes["layer"] == "0,1,2"
    assert merged.row_shape == (3, 32)
    cut = [sequence[:64] for sequence in proteins.values()]
    exact = [
        np.stack(of_layers, axis=1)
        for of_layers in zip(*(exact_representations(cut, n) for n in (0, 1, 2)), strict=True)
    ]
    assert merged.residue_counts.tolist() == [len(sequence) for sequence in cut]
    for number, expected in enumerate(exact):
        np.testing.assert_allclose(merged.residues(number), expected, atol=2e-5)
    np.testing.assert_allclose(all_rows(merged), [rows.mean(0) for rows in exact], atol=1e-5)


def test_a_layer_that_is_not_there_is_refused(sample: Sample) -> None:
    sample.pack()
    with pytest.raises(UserError, match=r"no layer 3, only 0 \(its input\) to 2"):
        sample.embed("0001", layers=[3])


def test_windows_over_long_proteins(sample: Sample, random_protein: Callable[[int], str]) -> None:
    long = random_protein(150)
    sample.proteins.write_text(f">short\n{long[:30]}\n>long\n{long}\n>copy\n{long}\n")
    sample.pack(long_proteins="windows")
    merged = sample.run(per_residue=True)
    windows = overlapping_windows(150, 64)
    table = pd.read_csv(sample.folder / "windows.tsv", sep="\t")
    assert table["id"].tolist() == [f"{name}/{w.begin + 1}-{w.end}" for name in ("long", "copy") for w in windows]
    assert merged.ids == ["short", "long", "copy"]
    parts = exact_representations(long[w.begin : w.end] for w in windows)
    pooled = [part[w.pool_begin - w.begin : w.pool_end - w.begin] for part, w in zip(parts, windows, strict=True)]
    expected = np.concatenate(pooled)
    assert len(expected) == 150
    for number in (1, 2):
        np.testing.assert_allclose(merged.residues(number), expected, atol=1e-5)
        np.testing.assert_allclose(all_rows(merged)[number], expected.mean(0), atol=1e-5)


def test_another_budget_moves_embeddings_by_rounding_only(sample: Sample) -> None:
    sample.pack()
    before = all_rows(sample.run())
    probe_token_budget(
        sample.folder / "model.json", str(sample.model), "auto", 999, sample.folder / "token_budget.json"
    )
    sample.pack(shard_tokens=10_000)
    np.testing.assert_allclose(all_rows(sample.run()), before, atol=1e-5)


def test_embed_refuses_what_was_not_packed(sample: Sample, tmp_path: Path) -> None:
    sample.pack()
    text = sample.proteins.read_text()
    sample.proteins.write_text(text.replace(">p05\n", ">p05\nW"))
    with pytest.raises(UserError, match="p05 is not the sequence that was packed"):
        [sample.embed(shard) for shard in sample.shards()]
    sample.proteins.write_text(text.replace(">p05\n", ">other\n"))
    with pytest.raises(UserError, match="p05 and 0 others of the manifest are not in it"):
        [sample.embed(shard) for shard in sample.shards()]
    sample.proteins.write_text(text)
    sample.model = oracle.save_as_fair_esm(oracle.random_model(2, 32, 2, seed=1), tmp_path / "other.pt")
    with pytest.raises(UserError, match="was packed for"):
        sample.embed("0001")
    assert not (sample.folder / "shards" / "0001.h5").exists()


def rewrite(path: Path, ids: list[str], rows: np.ndarray, **attributes: str) -> None:
    old = EmbeddingFile(path)
    with new_embedding_file(path, ids, old.row_shape, old.attributes | attributes) as file:
        file["embedding"][...] = rows


def test_merge_refuses_what_is_not_every_protein_once(sample: Sample) -> None:
    sample.pack()
    shards = [sample.embed(shard) for shard in sample.shards()]
    with pytest.raises(UserError, match=r"of 44 have no embedding in any shard"):
        sample.merge(shards[1:])
    with pytest.raises(UserError, match="is embedded in another shard too"):
        sample.merge([*shards, shards[0]])

    good = EmbeddingFile(shards[0])
    rows = all_rows(good)
    bad = rows.copy()
    bad[2, 5] = np.nan
    rewrite(shards[0], good.ids, bad)
    with pytest.raises(UserError, match=rf"1 \({good.ids[2]}\) of 44 embeddings hold NaN"):
        sample.merge(shards)
    rewrite(shards[0], ["stranger", *good.ids[1:]], rows)
    with pytest.raises(UserError, match="stranger is no protein of this sample"):
        sample.merge(shards)
    rewrite(shards[0], good.ids, rows, model_sha256="another")
    with pytest.raises(UserError, match="do not come from the same model"):
        sample.merge(shards)
    assert not (sample.folder / "embeddings.h5").exists()


def test_no_proteins(sample: Sample) -> None:
    sample.proteins.write_text("")
    sample.pack()
    assert sample.shards() == []
    assert sample.merge([]).ids == []
