"""embed: exactly the bins of a manifest."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import oracle
from tests.conftest import AMINO_ACIDS
from tests.pipeline.conftest import Sample
from tests.pipeline.test_merge import all_rows
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.errors import UserError


def test_what_was_not_packed_is_refused(sample: Sample, tmp_path: Path) -> None:
    sample.pack()
    text = sample.proteins.read_text()
    sample.proteins.write_text(text.replace(">p05\n", ">p05\nW"))
    with pytest.raises(UserError, match=r"proteins\.faa: not what was packed, at p\d+; delete it and run again"):
        [sample.embed(shard) for shard in sample.shards()]
    sample.proteins.write_text(text[:100])
    with pytest.raises(UserError, match="not what was packed"):
        [sample.embed(shard) for shard in sample.shards()]
    sample.proteins.write_text(text)
    sample.model = oracle.save_as_fair_esm(oracle.random_model(2, 32, 2, seed=1), tmp_path / "other.pt")
    with pytest.raises(UserError, match="was packed for"):
        sample.embed("0001")
    assert not (sample.folder / "shards" / "0001.h5").exists()


def test_a_manifest_that_pack_did_not_write_is_refused(sample: Sample) -> None:
    sample.pack()
    manifest = sample.folder / "manifests" / "0001.json"
    manifest.write_text(manifest.read_text().replace('"sample": "soil"', '"sample": "sand"'))
    with pytest.raises(UserError, match=r"0001\.json: not what pack wrote: damaged or replaced"):
        sample.embed("0001")


def test_a_shard_without_bins_needs_no_model(sample: Sample) -> None:
    sample.pack(shards=20)
    (empty,) = [
        s for s in sample.shards() if '"bins": [\n\n ]' in (sample.folder / "manifests" / f"{s}.json").read_text()
    ][:1]
    sample.model.rename(sample.model.with_suffix(".away"))
    try:
        file = EmbeddingFile(sample.embed(empty))
    finally:
        sample.model.with_suffix(".away").rename(sample.model)
    assert (file.ids, file.row_shape) == ([], (32,))


@pytest.mark.parametrize("per_residue", [False, True])
def test_a_job_that_ended_before_its_record_was_written_embeds_nothing_again(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, per_residue: bool
) -> None:
    sample.pack(shards=1)
    expected = sample.embed("0001", per_residue=per_residue).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("virnucpro.pipeline.embed.write_provenance", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sample.embed("0001", per_residue=per_residue)
    output = sample.folder / "shards" / "0001.h5"
    output.unlink()  # as Snakemake does
    assert output.with_name("0001.h5.unfinished").exists()
    with monkeypatch.context() as patch:
        patch.setattr(AsyncInferenceRunner, "_launch", lambda *_: 1 / 0)
        assert sample.embed("0001", per_residue=per_residue).read_bytes() == expected
    assert not output.with_name("0001.h5.unfinished").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; tests/gpu compiles there")
def test_a_cpu_embeds_uncompiled_and_says_so(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    sample.pack()
    expected = sample.embed_and_merge()
    assert "uncompiled" not in caplog.text
    found = sample.embed_and_merge(compiled=True)
    assert "compile needs a GPU of compute capability 8.0 and half precision: the model runs uncompiled" in caplog.text
    assert not json.loads((sample.folder / "shards" / "0001.json").read_text())["details"]["compiled"]
    np.testing.assert_array_equal(all_rows(found), all_rows(expected))


def test_a_bin_that_does_not_fit_is_split(sample: Sample) -> None:
    """A separate process with a limited address space really runs out of memory."""
    random_text = "".join(random.Random(1).choices(AMINO_ACIDS, k=60 * 2700))
    sample.prepare({f"p{n}": random_text[60 * n : 60 * n + 60] for n in range(2700)})
    sample.probe(1_000_000)
    sample.pack(shards=1)
    whole = all_rows(EmbeddingFile(sample.embed("0001")))
    # Large arrays are returned to the system at once: arrays of a failed bin must not take memory from the next one.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", STARVED, sample.folder, sample.model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
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
load = embed.load_encoder
def load_and_starve(*arguments):
    loaded = load(*arguments)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 80_000_000, resource.RLIM_INFINITY))
    return loaded
embed.load_encoder = load_and_starve
embed.embed(folder / "manifests" / "0001.json", folder / "prepared" / "proteins.faa", str(model), folder / "starved.h5")
"""
