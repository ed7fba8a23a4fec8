from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from esm.data import FastaBatchedDataset

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.data.manifest import Bin, Manifest, PackedSequence, write_manifest
from virnucpro.data.packing import SPECIAL_TOKENS
from virnucpro.report import packing as figure
from virnucpro.report.packing import draw_packing, pad_batches

BUDGET = 100


def manifest(path: Path, bins: Sequence[Sequence[int]], sample: str = "soil") -> Path:
    """Write a manifest of bins, each given by the lengths of its sequences."""
    packed = [
        Bin(
            tokens=sum(lengths) + SPECIAL_TOKENS * len(lengths),
            sequences=[
                PackedSequence(id=f"{sample}_{number}_{k}", offset=0, length=length, sha256="0" * 64, truncated=False)
                for k, length in enumerate(lengths)
            ],
        )
        for number, lengths in enumerate(bins)
    ]
    write_manifest(
        path,
        Manifest(
            version=2,
            sample=sample,
            shard=path.stem,
            embedding=DESCRIPTION,
            token_budget=BUDGET,
            bins=packed,
        ),
    )
    return path


def draw(folder: Path, *manifests: Path) -> str:
    draw_packing(manifests, folder / "packing.svg")
    return (folder / "packing.svg").read_text()


@pytest.mark.parametrize("suffix", [".svg", ".png"])
@pytest.mark.parametrize("bins", [0, 1, 60])
def test_a_picture_comes_out_and_is_the_same_every_time(tmp_path: Path, bins: int, suffix: str) -> None:
    manifests = [manifest(tmp_path / "0001.json", [[60, 30]] * bins)] if bins else []
    pictures = [tmp_path / f"{name}{suffix}" for name in ("first", "second")]
    for picture in pictures:
        draw_packing(manifests, picture)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[0].stat().st_size > 1000


def test_no_bins_are_said_to_be_none(tmp_path: Path) -> None:
    assert "no bins" in draw(tmp_path)


def test_the_title_tells_how_full_the_bins_of_all_manifests_are(tmp_path: Path) -> None:
    svg = draw(tmp_path, manifest(tmp_path / "0001.json", [[98], [48]]), manifest(tmp_path / "0002.json", [[23]]))
    assert "3 bins of 100 tokens, 58.3 % full" in svg  # 100 + 50 + 25 of 300
    assert "3 sequences, 175 tokens" in svg


def test_a_single_bin_is_no_plural(tmp_path: Path) -> None:
    assert "1 bin of 100 tokens, 50.0 % full" in draw(tmp_path, manifest(tmp_path / "0001.json", [[48]]))


@pytest.mark.parametrize(("bins", "said"), [(40, False), (60, True)])
def test_a_picture_of_some_of_the_bins_says_so(tmp_path: Path, bins: int, said: bool) -> None:
    svg = draw(tmp_path, manifest(tmp_path / "0001.json", [[98]] * bins))
    assert ("Shown: 40 of the bins, evenly spaced" in svg) == said


def test_padding_is_counted_sample_by_sample(tmp_path: Path) -> None:
    svg = draw(
        tmp_path,
        manifest(tmp_path / "0001.json", [[28, 18]], sample="soil"),
        manifest(tmp_path / "0002.json", [[38]], sample="gut"),
    )
    assert "Packed: 2 bins, 90 tokens, no padding" in svg
    assert "2 batches, 100 tokens, 10.0 % of them padding" in svg  # 2 x 30, where 20 has 10 of padding, and 40


@pytest.mark.parametrize("budget", [1024, 4096])
def test_padded_batches_are_those_of_fair_esm(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 1023, 500)
    dataset = FastaBatchedDataset([str(i) for i in range(len(lengths))], ["A" * length for length in lengths])
    batches = dataset.get_batch_indices(budget, extra_toks_per_seq=SPECIAL_TOKENS)
    padded = sum(len(batch) * (lengths[batch].max() + SPECIAL_TOKENS) for batch in batches)
    assert pad_batches((lengths + SPECIAL_TOKENS).astype(np.int32), budget) == (len(batches), padded)


def test_some_shards_stand_for_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "MOST_DRAWN", 5)
    manifests = [manifest(tmp_path / f"{number:04d}.json", [[60, 30]]) for number in range(1, 11)]
    for unread in (manifests[1], manifests[8]):
        unread.write_text("not read")
    draw_packing(manifests, tmp_path / "packing.svg", sequences=20)
    assert "2 bins of 100 tokens, 94.0 % full, of 2 of 10 shards" in (tmp_path / "packing.svg").read_text()
