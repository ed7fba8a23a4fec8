"""Heads: probabilities against torch; written and read again, refused when damaged; the shipped heads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save
from torch import nn

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling import requirements
from virnucpro.data.arrays import Rows
from virnucpro.errors import UserError
from virnucpro.naming import CLASSES, heads
from virnucpro.naming.heads import FORMAT, NEVER, Described, Head, Heads, load_heads, save_heads
from virnucpro.naming.names import EMBEDDED_RANKS, HALLMARKS
from virnucpro.naming.taxonomy import taxa_of_ictv

INPUTS, HIDDEN, NETWORKS = 5, 6, 3
TAXA = (
    {"realm": "Duplodnaviria", "kingdom": "Heunggongvirae", "phylum": "Uroviricota", "class": "Caudoviricetes"},
    {"realm": "Riboviria", "kingdom": "Orthornavirae", "phylum": "Pisuviricota", "class": "Pisoniviricetes"},
)
LIMITS = {rank: {TAXA[0][rank]: [0.95, 0.9, NEVER]} for rank in EMBEDDED_RANKS}
DESCRIBED = Described(DESCRIPTION, ("cellular", "holin"), (0.5, 0.75), TAXA, LIMITS | {"genome": {"dsDNA": [0.8] * 3}})


def random_head(classes: int, seed: int = 0, inputs: int = INPUTS) -> Head:
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> Rows:
        return rng.normal(size=shape).astype(np.float32)

    hidden = floats(NETWORKS, HIDDEN, inputs).astype(np.float16)
    output = floats(NETWORKS, classes, HIDDEN), floats(NETWORKS, classes)
    return Head(floats(inputs), np.exp(floats(inputs)), hidden, floats(NETWORKS, HIDDEN), *output)


def random_heads(inputs: int = INPUTS, described: Described = DESCRIBED) -> Heads:
    """Return heads with random weights."""
    sizes = len(described.functions), len(described.taxa)
    return Heads(random_head(sizes[0], 1, inputs), random_head(sizes[1], 2, inputs), described)


def by_torch(head: Head, inputs: Rows, sizes: list[int]) -> Rows:
    """Return the probabilities of sets by modules of torch, one set after the other."""
    found = []
    for number in range(NETWORKS):
        network = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, head.output_bias.shape[1]))
        arrays = {"0.weight": head.hidden_weight.astype(np.float32), "0.bias": head.hidden_bias}
        arrays |= {"2.weight": head.output_weight, "2.bias": head.output_bias}
        network.load_state_dict({name: torch.tensor(array[number]) for name, array in arrays.items()})
        standard = torch.tensor(((inputs - head.mean) / head.scale).clip(-6, 6))
        logits = [part.sum(dim=0) / len(part) ** 0.5 for part in network(standard).split(sizes)]
        found.append(torch.softmax(torch.stack(logits), dim=1).detach().numpy())
    return np.asarray(np.mean(found, axis=0))


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [9], [1, 4, 2, 30, 1]])
def test_probabilities_by_torch(sizes: list[int]) -> None:
    head = random_head(4)
    inputs = np.random.default_rng(1).normal(0, 3, (sum(sizes), INPUTS)).astype(np.float32)
    found = head.probabilities(inputs, np.array(sizes))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_torch(head, inputs, sizes), atol=2e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert head.probabilities(inputs[:0], np.empty(0, np.int64)).shape == (0, 4)


def test_limits_by_taxon_and_length() -> None:
    limits = [DESCRIBED.limit("class", "Caudoviricetes", length) for length in (0, 1499, 1500, 4999, 5000, 10**6)]
    assert limits == [0.95, 0.95, 0.9, 0.9, NEVER, NEVER]
    assert DESCRIBED.limit("class", "Pisoniviricetes", 9000) == NEVER
    assert DESCRIBED.limit("genome", "dsDNA", 9000) == 0.8


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = random_heads()
    save_heads(written, tmp_path / "h.safetensors")
    read = load_heads(tmp_path / "h.safetensors")
    assert read.described == DESCRIBED
    for name in ("function", "taxon"):
        for key, array in vars(getattr(written, name)).items():
            again = getattr(getattr(read, name), key)
            np.testing.assert_array_equal(again, array)
            assert again.dtype == array.dtype
    save_heads(read, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "h.safetensors").read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.safetensors"
    save_heads(random_heads(), path)
    whole, arrays = path.read_bytes(), load_file(path)
    described = json.loads(json.dumps(vars(DESCRIBED) | {"embedding": DESCRIPTION.as_json()}))
    damaged = [whole[:size] for size in (0, 5, 200, len(whole) // 2, len(whole) - 1)]
    damaged += [
        b">a\nACGT\n",
        save(arrays),
        save(arrays, {FORMAT: "{"}),
        save(arrays, {"virnucpro heads 0": json.dumps(described)}),
        save(arrays, {FORMAT: json.dumps(described | {"more": 1})}),
        save(arrays, {FORMAT: json.dumps(described | {"embedding": {}})}),
        save({name: array for name, array in arrays.items() if name != "taxon.mean"}, {FORMAT: json.dumps(described)}),
        save(arrays | {"taxon.more": arrays["taxon.mean"]}, {FORMAT: json.dumps(described)}),
        save(arrays | {"taxon.mean": arrays["taxon.mean"][:2]}, {FORMAT: json.dumps(described)}),
        save(arrays | {"function.output_bias": arrays["taxon.output_bias"][:1]}, {FORMAT: json.dumps(described)}),
        save(arrays | {"taxon.hidden_weight": np.zeros((), np.float16)}, {FORMAT: json.dumps(described)}),
        save(arrays, {FORMAT: "[" * 100_000}),
        save(arrays, {FORMAT: json.dumps(described | {"functions": ["cellular"]})}),
        save(arrays, {FORMAT: json.dumps(described | {"taxon_limits": LIMITS})}),
        save(arrays, {FORMAT: json.dumps(described | {"taxon_limits": LIMITS | {"genome": {"dsDNA": [0.8]}}})}),
        whole.replace(b'"F32"', b'"\\nxx"', 1),
    ]
    for content in damaged:
        path.write_bytes(content)
        refused(path)
    refused(tmp_path / "absent.safetensors")
    path.write_bytes(save(arrays, {FORMAT: json.dumps(described)}))
    assert load_heads(path).described == DESCRIBED


def refused(path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_heads(path)
    assert str(caught.value).startswith(f"{path}: not the heads that virnucpro train-names writes (")
    assert "\n" not in str(caught.value)


def test_those_that_ship() -> None:
    shipped = load_heads(heads.DEFAULT)
    described, trained = shipped.described, requirements.read_requirements(requirements.DEFAULT).embedding
    described.embedding.check_trained_for(trained, "heads")
    assert replace(described.embedding, precision=trained.precision) == trained
    assert described.functions == tuple(sorted(set(described.functions)))
    assert {*HALLMARKS, "cellular"} <= set(described.functions)
    assert len(described.function_limits) == len(described.functions) == shipped.function.output_bias.shape[1]
    assert all(0 < limit <= 1 or limit == NEVER for limit in described.function_limits)
    assert len(described.taxa) == shipped.taxon.output_bias.shape[1]
    assert all(list(lineage) == list(EMBEDDED_RANKS) for lineage in described.taxa)
    known = set(taxa_of_ictv().index)
    assert {(rank, taxon) for lineage in described.taxa for rank, taxon in lineage.items() if taxon} <= known
    assert set(described.taxon_limits) == {*EMBEDDED_RANKS, "genome"}
    for of_rank in described.taxon_limits.values():
        assert {len(limits) for limits in of_rank.values()} == {len(CLASSES)}
        assert any(limit < 1 for limits in of_rank.values() for limit in limits)
    inputs = np.zeros((3, described.embedding.embed_dim * len(described.embedding.layers) + 1), np.float32)
    for head in (shipped.function, shipped.taxon):
        assert np.isfinite(head.probabilities(inputs, np.array([1, 2]))).all()
