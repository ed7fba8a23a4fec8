"""pack, embed, merge and summary, each on the files of the one before."""

import hashlib
import json
import os
import random
import subprocess
import sys
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
from tests.conftest import AMINO_ACIDS
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.manifest import read_manifest
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError
from virnucpro.pipeline.embed import embed
from virnucpro.pipeline.fetch_model import fetch_model
from virnucpro.pipeline.merge import merge
from virnucpro.pipeline.pack import pack
from virnucpro.pipeline.prepare import prepare_proteins
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
        merge(self.folder, self.folder / "token_budget.json", shards, output, {"chunk_size": 500})
        return EmbeddingFile(output)

    def run(self, **settings: Any) -> EmbeddingFile:
        """Embed and merge what was packed."""
        return self.merge([self.embed(shard, **settings) for shard in reversed(self.shards())])


@pytest.fixture
def sample(tmp_path: Path, model: Path, proteins: dict[str, str], write_fasta: Callable[..., Path]) -> Sample:
    fetch_model(str(model), tmp_path / "model.json")
    probe_token_budget(tmp_path / "model.json", str(model), "auto", 256, tmp_path / "token_budget.json")
    prepare_proteins(write_fasta(proteins), tmp_path / "prepared")
    return Sample(folder=tmp_path, model=model, proteins=tmp_path / "prepared" / "proteins.faa")


def write_budget(sample: Sample, tokens: int) -> None:
    probe_token_budget(
        sample.folder / "model.json", str(sample.model), "auto", tokens, sample.folder / "token_budget.json"
    )


def test_token_budget_says_where_it_comes_from(sample: Sample) -> None:
    found = json.loads((sample.folder / "token_budget.json").read_text())
    assert found["token_budget"] == 256
    assert found["reason"] == "set in the configuration"
    assert found["model"] == json.loads((sample.folder / "model.json").read_text())


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
    assert duplicates.values.tolist() == [["p03", "z_copy", 0], ["a_copy", "z_copy", 0], ["b_copy", "p09", 0]]


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
    with pytest.raises(UserError, match=r"no layer 3, only 0 \(its input\) to 2 in this model"):
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
    rewrite(shards[0], good.ids, rows, precision="another")
    with pytest.raises(UserError, match="do not come from the same settings"):
        sample.merge(shards)
    rewrite(shards[0], good.ids, rows, model_sha256="another")
    with pytest.raises(UserError, match="was made by another model"):
        sample.merge(shards)
    assert not (sample.folder / "embeddings.h5").exists()


def test_no_proteins(sample: Sample) -> None:
    sample.proteins.write_text("")
    sample.pack()
    assert sample.shards() == []
    merged = sample.merge([])
    assert merged.ids == []
    assert merged.row_shape == (32,)
    assert (merged.attributes["model"], merged.attributes["layer"]) == ("tiny", 2)


def test_provenance(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    sample.run()
    found = json.loads((sample.folder / "embeddings.provenance.json").read_text())
    fasta = sample.folder / "input.fa"
    assert found["input"] == {"path": str(fasta), "sha256": hashlib.sha256(fasta.read_bytes()).hexdigest()}
    assert found["model"]["sha256"] == hashlib.sha256(sample.model.read_bytes()).hexdigest()
    assert found["settings"] == {"chunk_size": 500}
    assert found["devices"] == ["cpu"]
    without_build = [version.partition("+")[0] for version in (found["versions"]["torch"], torch.__version__)]
    assert without_build[0] == without_build[1]  # either may add the build, as in +cu130


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; tests/gpu compiles there")
def test_a_cpu_embeds_uncompiled_and_says_so(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    sample.pack()
    expected = sample.run()
    assert "uncompiled" not in caplog.text
    found = sample.run(compiled=True)
    assert "compile needs a GPU of compute capability 8.0 and half precision: the model runs uncompiled" in caplog.text
    assert not json.loads((sample.folder / "shards" / "0001.json").read_text())["compiled"]
    np.testing.assert_array_equal(all_rows(found), all_rows(expected))


def test_a_bin_that_does_not_fit_is_split(sample: Sample) -> None:
    """In a process of its own whose address space is limited, so that memory really runs out."""
    random_text = "".join(random.Random(1).choices(AMINO_ACIDS, k=60 * 2700))
    records = (f">p{n}\n{random_text[60 * n : 60 * n + 60]}\n" for n in range(2700))
    sample.proteins.write_text("".join(records))
    write_budget(sample, 1_000_000)
    sample.pack(shard_tokens=1_000_000)
    whole = all_rows(sample.run())
    # Large arrays are given back to the system at once, so that those of a bin that failed do not starve the next.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", STARVED, sample.folder, sample.model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert "a bin of 167424 tokens does not fit the memory of cpu: bins are split" in done.stderr
    starved = EmbeddingFile(sample.folder / "starved.h5")
    np.testing.assert_allclose(all_rows(starved), whole, atol=1e-5)


STARVED = """
import logging, resource, sys
from pathlib import Path
import torch
from virnucpro.pipeline import embed
folder, model = map(Path, sys.argv[1:])
logging.basicConfig()
torch.set_num_threads(1)
load = embed.load_esm2
def load_and_starve(*arguments):
    loaded = load(*arguments)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 80_000_000, resource.RLIM_INFINITY))
    return loaded
embed.load_esm2 = load_and_starve
embed.embed(folder / "manifests" / "0001.json", folder / "prepared" / "proteins.faa", str(model), folder / "starved.h5")
"""
