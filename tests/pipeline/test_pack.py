"""pack: every distinct protein once, in the requested number of shards."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.pipeline.conftest import Sample
from virnucpro.data.manifest import Manifest, PackedSequence, read_manifest
from virnucpro.data.packing import deal_bins
from virnucpro.embedding.pieces import overlapping_windows
from virnucpro.errors import UserError
from virnucpro.pipeline import token_budget


def manifests(sample: Sample) -> list[Manifest]:
    return [read_manifest(path) for path in sorted((sample.folder / "manifests").iterdir())]


def packed(sample: Sample) -> list[PackedSequence]:
    return [s for manifest in manifests(sample) for a_bin in manifest["bins"] for s in a_bin["sequences"]]


def test_token_budget_says_where_it_comes_from(sample: Sample) -> None:
    found = json.loads((sample.run / "token_budget.json").read_text())
    assert found["token_budget"] == 256
    assert found["reason"] == "set in the configuration"
    assert found["model"] == json.loads((sample.run / "model.json").read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; tests/gpu asks it")
@pytest.mark.parametrize("driver", [False, True])
def test_token_budget_without_cuda(sample: Sample, driver: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "has_driver", lambda: driver)  # with one, torch looks for a device
    found = sample.probe(None, "auto.json")
    assert (found["device"], found["precision"], found["token_budget"]) == ("cpu", "float32", 4096)
    assert 0 < found["free_bytes"] <= found["total_bytes"]


def test_every_distinct_protein_once(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    assert [manifest["shard"] for manifest in manifests(sample)] == ["0001", "0002", "0003"]
    assert Counter(s["id"] for s in packed(sample)) == Counter(proteins.keys() - {"p03", "a_copy", "b_copy"})
    assert [s["id"] for s in packed(sample) if s["truncated"]] == ["long"]
    assert {s["length"] for s in packed(sample) if s["id"] == "long"} == {64}
    duplicates = pd.read_csv(sample.folder / "duplicates.tsv", sep="\t")
    same = [["p03", 0, "z_copy", 0, 0], ["a_copy", 0, "z_copy", 0, 0], ["b_copy", 0, "p09", 0, 0]]
    assert duplicates.to_numpy().tolist() == same


def test_offsets_point_at_the_residues(sample: Sample, proteins: dict[str, str]) -> None:
    sample.pack()
    text = sample.proteins.read_text()
    for sequence in packed(sample):
        begin = sequence["offset"]
        assert text[begin : begin + sequence["length"]] == proteins[sequence["id"]][:64]


def test_a_manifest_says_what_the_embeddings_will_be(sample: Sample) -> None:
    sample.pack(layers=[0, -1], long_proteins="windows")
    card = json.loads((sample.run / "model.json").read_text())
    assert manifests(sample)[0]["embedding"].as_json() == {
        "encoder": "tiny",
        "encoder_sha256": card["sha256"],
        "embed_dim": 32,
        "layers": [0, 2],
        "pooling": "mean",
        "precision": "float32",
        "proteins": "protein",
        "chunk_size": 0,
        "short_chunks": [],
        "max_sequence_length": 64,
        "long_proteins": "windows",
    }


def test_the_same_again_gives_the_same_bytes(sample: Sample) -> None:
    sample.pack()
    files = [*(sample.folder / "manifests").iterdir(), sample.folder / "duplicates.tsv"]
    before = {path: path.read_bytes() for path in files}
    sample.pack()
    assert {path: path.read_bytes() for path in files} == before


def test_shards_without_bins_are_empty(sample: Sample) -> None:
    sample.pack(shards=20)
    counts = [len(manifest["bins"]) for manifest in manifests(sample)]
    assert len(counts) == 20
    assert 0 < sum(counts) < 20
    assert max(counts) == 1


def test_the_fullest_bins_are_dealt_first() -> None:
    assert deal_bins([2, 2, 3, 3, 6], 2).tolist() == [0, 1, 1, 1, 0], "8 tokens each"


@pytest.mark.parametrize(("shard_tokens", "warned"), [(100, True), (700, False)])
def test_a_far_too_large_shard_is_said(
    sample: Sample, caplog: pytest.LogCaptureFixture, shard_tokens: int, warned: bool
) -> None:
    sample.pack(shard_tokens=shard_tokens)
    assert ("tokens in a shard, but shard_tokens is 100: the size" in caplog.text) == warned


def test_a_budget_below_one_sequence_names_the_sequence(sample: Sample) -> None:
    sample.prepare({"long": "M" * 300})
    with pytest.raises(UserError, match="token_budget 256 is smaller than sequence long with its 302"):
        sample.pack(max_sequence_length=1000)


def test_windows_that_overlap(sample: Sample, random_protein: Callable[[int], str]) -> None:
    long = random_protein(150)
    sample.prepare({"short": long[:30], "long": long, "copy": long})
    sample.pack(long_proteins="windows")
    windows = overlapping_windows(150, 64)
    found = sorted((s for s in packed(sample) if "window" in s), key=lambda s: s["window"]["begin"])
    spans = [(w.begin, w.pool_begin, w.pool_end) for w in windows]
    assert [tuple(s["window"].values()) for s in found] == spans
    assert {s["id"] for s in found} == {"long"}
    duplicates = pd.read_csv(sample.folder / "duplicates.tsv", sep="\t")
    same = [["copy", w.begin, "long", w.begin, 0] for w in windows]
    assert duplicates.to_numpy().tolist() == same


def test_a_layer_that_is_not_there_is_refused(sample: Sample) -> None:
    with pytest.raises(UserError, match=r"no layer 3, only 0 \(its input\) to 2 in this model"):
        sample.pack(layers=[3])


def test_what_prepare_did_not_write_is_refused(sample: Sample, tmp_path: Path) -> None:
    sample.proteins.write_text(sample.proteins.read_text().replace(">p05\n", ">p05\nW"))
    with pytest.raises(UserError, match=r"proteins\.faa: not what prepare wrote: damaged or replaced"):
        sample.pack()
    sample.proteins.unlink()
    with pytest.raises(UserError, match=r"proteins\.faa: no such file; run prepare again"):
        sample.pack()
    (sample.folder / "prepare.json").unlink()
    with pytest.raises(UserError, match=r"prepare\.json: no such file; run prepare again"):
        sample.pack()


def test_what_was_cut_shares_with_what_was_cut_alone(sample: Sample, random_protein: Callable[[int], str]) -> None:
    long = random_protein(90)
    sample.prepare({"whole": long[:64], "long": long, "copy": long, "longer": long + "A"})
    sample.pack()
    duplicates = pd.read_csv(sample.folder / "duplicates.tsv", sep="\t")
    assert duplicates.to_numpy().tolist() == [["copy", 0, "long", 0, 1], ["longer", 0, "long", 0, 1]]
    details = json.loads((sample.folder / "pack.json").read_text())["details"]
    assert (details["duplicates"], details["truncated"]) == (2, 3)


def test_windows_of_which_other_residues_count_are_others(sample: Sample) -> None:
    sample.prepare({"same": "A" * 150})
    sample.pack(long_proteins="windows")
    pools = {(w.pool_begin - w.begin, w.pool_end - w.begin) for w in overlapping_windows(150, 64)}
    assert len(pools) > 1
    assert len(packed(sample)) == len(pools)
