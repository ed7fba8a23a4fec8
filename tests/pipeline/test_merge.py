"""merge: every protein once, in the order of the input, as fair-esm embeds it."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import oracle
from tests.pipeline.conftest import Sample
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.provenance import read_provenance, write_provenance
from virnucpro.embedding import pieces
from virnucpro.embedding.pieces import overlapping_windows
from virnucpro.errors import UserError


def all_rows(file: EmbeddingFile) -> np.ndarray:
    return file.rows(np.arange(len(file.ids)))


def exact_representations(sequences: Iterable[str], layer: int = 2) -> list[np.ndarray]:
    """Return fair-esm's representations of the residues alone, in FP64."""
    found = oracle.representations(oracle.random_model(2, 32, 2), list(sequences), torch.float64, layer)
    return [representation[1:-1].numpy() for representation in found]


def test_embeddings_are_those_of_fair_esm_in_input_order(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    merged = sample.embed_and_merge()
    assert merged.ids == list(proteins)
    assert (merged.description.layers, merged.description.encoder) == ((2,), "tiny")
    exact = exact_representations(sequence[:64] for sequence in proteins.values())
    np.testing.assert_allclose(all_rows(merged), [rows.mean(0) for rows in exact], atol=1e-5)


def test_chosen_layers_and_residues(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack(layers=[0, 1, -1])
    merged = sample.embed_and_merge(per_residue=True)
    assert merged.description.layers == (0, 1, 2)
    assert merged.row_shape == (3, 32)
    cut = [sequence[:64] for sequence in proteins.values()]
    exact = [
        np.stack(of_layers, axis=1)
        for of_layers in zip(*(exact_representations(cut, n) for n in (0, 1, 2)), strict=True)
    ]
    assert [len(merged.residues(n)) for n in range(len(merged.ids))] == [len(sequence) for sequence in cut]
    for number, expected in enumerate(exact):
        np.testing.assert_allclose(merged.residues(number), expected, atol=2e-5)
    np.testing.assert_allclose(all_rows(merged), [rows.mean(0) for rows in exact], atol=1e-5)


def test_windows_over_long_proteins(sample: Sample, random_protein: Callable[[int], str]) -> None:
    long = random_protein(150)
    # A protein may have the name of a window.
    sample.prepare({"short": long[:30], "long": long, "copy": long, "long/1-64": long[:40]})
    sample.pack(long_proteins="windows")
    merged = sample.embed_and_merge(per_residue=True)
    windows = overlapping_windows(150, 64)
    assert merged.ids == ["short", "long", "copy", "long/1-64"]
    parts = exact_representations(long[w.begin : w.end] for w in windows)
    pooled = [part[w.pool_begin - w.begin : w.pool_end - w.begin] for part, w in zip(parts, windows, strict=True)]
    expected = np.concatenate(pooled)
    assert len(expected) == 150
    for number in (1, 2):
        np.testing.assert_allclose(merged.residues(number), expected, atol=1e-5)
        np.testing.assert_allclose(all_rows(merged)[number], expected.mean(0), atol=1e-5)
    (alone,) = exact_representations([long[:40]])
    np.testing.assert_allclose(all_rows(merged)[3], alone.mean(0), atol=1e-5)


def test_another_budget_moves_embeddings_by_rounding_only(sample: Sample) -> None:
    sample.pack()
    before = all_rows(sample.embed_and_merge())
    sample.probe(999)
    sample.pack(shards=1)
    np.testing.assert_allclose(all_rows(sample.embed_and_merge()), before, atol=1e-5)


def rewrite(path: Path, ids: list[str], rows: np.ndarray, **changes: str) -> None:
    """Write other rows into the file of a shard, and a matching record of embed."""
    old, record = EmbeddingFile(path), path.with_suffix(".json")
    with new_embedding_file(path, ids, replace(old.description, **changes), begins=[0] * len(ids)) as file:
        file["embedding"][...] = rows
    ran = read_provenance(record, "embed")
    write_provenance(record, ran.stage, ran.settings, ran.inputs, [path], ran.details)


def test_a_record_of_an_earlier_version_is_one_line(sample: Sample) -> None:
    sample.pack()
    path = sample.folder / "pack.json"
    ran = read_provenance(path, "pack")
    details = {name: value for name, value in ran.details.items() if name != "screened"}
    outputs = [next(sample.folder.rglob(name)) for name in ran.outputs]
    write_provenance(path, "pack", ran.settings, ran.inputs, outputs, details)
    with pytest.raises(UserError, match=r"pack\.json: an earlier version wrote it, without screened; run the pack"):
        sample.embed_and_merge()


def test_what_is_not_every_protein_once_is_refused(sample: Sample) -> None:
    sample.pack()
    shards = [sample.embed(shard) for shard in sample.shards()]
    first, second = (EmbeddingFile(path) for path in shards[:2])
    rows = all_rows(first)
    good = first.ids

    bad = rows.copy()
    bad[2, 5] = np.nan
    refused = [
        (good[1:], rows[1:], r"have no embedding in any shard"),
        ([second.ids[0], *good[1:]], rows, r"\) embedded in another shard too"),
        ([good[1], *good[1:]], rows, rf"0001\.h5: 1 \({good[1]}\) embedded twice in it"),
        (good, bad, rf"1 \({good[2]}\) of 44 embeddings hold NaN"),
        (["unheard_of", *good[1:]], rows, "unheard_of from residue 0 on was not packed"),
    ]
    for ids, of_ids, message in refused:
        rewrite(shards[0], ids, of_ids)
        with pytest.raises(UserError, match=message):
            sample.merge()
    rewrite(shards[0], good, rows, precision="bfloat16")
    with pytest.raises(UserError, match="precision is bfloat16, what was packed has float32"):
        sample.merge()
    rewrite(shards[0], good, rows, encoder_sha256="cd" * 32)
    with pytest.raises(UserError, match=r"encoder_sha256 is cdcd.*, what was packed has"):
        sample.merge()
    assert not sample.embeddings.exists()


def test_a_shard_of_another_manifest_is_refused(sample: Sample) -> None:
    sample.pack()
    for shard in sample.shards():
        sample.embed(shard)
    sample.pack(layers=[1])
    with pytest.raises(UserError, match=r"0001\.h5: made from another manifest; delete it and run the embed stage"):
        sample.merge()


def test_a_shard_that_embed_did_not_write_is_refused(sample: Sample) -> None:
    sample.pack()
    sample.embed_and_merge()
    shards = sample.folder / "shards"
    (shards / "0001.h5").write_bytes((shards / "0002.h5").read_bytes())
    with pytest.raises(UserError, match=r"0001\.h5: not what embed wrote: damaged or replaced"):
        sample.merge()


def test_no_proteins(sample: Sample) -> None:
    sample.prepare({"empty": ""})
    sample.pack(shards=1)
    merged = sample.embed_and_merge(per_residue=True)
    assert merged.ids == []
    assert merged.row_shape == (32,)
    assert merged.has_residues
    assert (merged.description.encoder, merged.description.layers) == ("tiny", (2,))


def test_provenance(sample: Sample, proteins: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_SETTINGS", '{"chunk_size": 500}')  # which the workflow sets
    sample.pack()
    sample.embed_and_merge()
    found = json.loads((sample.folder / "merge.json").read_text())["details"]
    digest = hashlib.sha256(sample.fasta.read_bytes()).hexdigest()
    assert found["input"] == {"path": str(sample.fasta), "sha256": digest}
    assert found["embedding"]["encoder_sha256"] == hashlib.sha256(sample.model.read_bytes()).hexdigest()
    assert found["settings"] == {"chunk_size": 500}
    assert found["devices"] == ["cpu"]
    without_build = [version.partition("+")[0] for version in (found["versions"]["torch"], torch.__version__)]
    assert without_build[0] == without_build[1]  # either may add the build, as in +cu130


def test_blocks_make_no_difference(
    sample: Sample, random_protein: Callable[[int], str], proteins: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.prepare(proteins | {"windows": random_protein(150), "last": random_protein(9)})
    sample.pack(long_proteins="windows")
    whole = all_rows(sample.embed_and_merge())
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 3 * 4 * 32)  # three proteins
    np.testing.assert_array_equal(all_rows(sample.merge()), whole)
    assert len(np.unique(whole, axis=0)) == len(whole) - 3, "all but the duplicates differ"
