"""virnucpro embed-proteins: formats, resuming after a kill, several processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.conftest import ROOT
from tests.workflow.project import wait_for
from virnucpro.embedding import engine as engines
from virnucpro.embedding.engine import choose_engine, open_store, run_engine
from virnucpro.embedding.progress import Progress
from virnucpro.embedding.proteins import read_sequences
from virnucpro.embedding.store import kept_beside
from virnucpro.embedding.work import plan_work

OfResidues = list[npt.NDArray[np.float64]]
TOLERANCE = {"rtol": 0, "atol": 2e-6}


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "virnucpro", "embed-proteins", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


def run(*arguments: str | Path, folder: Path) -> str:
    process = start(*arguments, folder=folder)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert out == ""
    return err


def test_both_formats_hold_the_same(
    fasta: Path, model: str, proteins: dict[str, str], of_residues: OfResidues, tmp_path: Path
) -> None:
    for ending in ("h5", "npz"):
        said = run(fasta, f"x.{ending}", "--model", model, "--token-budget", "512", folder=tmp_path)
        assert said == f"virnucpro: x.{ending}: the embeddings of 100 proteins\n"
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["id"].asstr()[:].tolist() == list(proteins)
        embeddings = file["embedding"][:]
        assert (file.attrs["model"], file.attrs["precision"]) == ("tiny", "float32")
    np.testing.assert_allclose(embeddings, [residues.mean(axis=0) for residues in of_residues], **TOLERANCE)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == list(proteins)
        np.testing.assert_array_equal(arrays["embeddings"], embeddings)
        assert json.loads(str(arrays["description"]))["pooling"] == "mean"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proteins.faa", "x.h5", "x.npz"]


def test_residues(fasta: Path, model: str, of_residues: OfResidues, tmp_path: Path) -> None:
    shared = ("--model", model, "--token-budget", "512", "--per-residue")
    run(fasta, "x.h5", *shared, folder=tmp_path)
    run(fasta, "x.npz", *shared, folder=tmp_path)
    run(fasta, "z.h5", "--model", model, "--layers", "1", "2", folder=tmp_path)
    with h5py.File(tmp_path / "x.h5") as file, np.load(tmp_path / "x.npz") as arrays:
        starts = file["residue_start"][:]
        np.testing.assert_array_equal(arrays["residue_start"], starts)
        np.testing.assert_array_equal(arrays["residue_embeddings"], file["residue_embedding"][:])
        for row, expected in enumerate(of_residues):
            found = file["residue_embedding"][starts[row] : starts[row + 1]]
            np.testing.assert_allclose(found, expected, **TOLERANCE)
    with h5py.File(tmp_path / "z.h5") as file:
        assert file["embedding"].shape == (100, 2, 32)
        np.testing.assert_allclose(file["embedding"][5, 1], of_residues[5].mean(axis=0), **TOLERANCE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("p.faa", "x.txt"), "x.txt: the name must end in .h5 or .npz"),
        (("absent.faa", "x.h5"), "absent.faa: no such file"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "p.faa").write_text(">a\nMKV\n")
    process = start(*arguments, folder=tmp_path)
    assert process.communicate() == ("", f"virnucpro embed-proteins: error: {message}\n")
    assert process.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["p.faa"]


def test_ids_with_slashes_and_empty_records(model: str, tmp_path: Path) -> None:
    (tmp_path / "p.faa").write_text(">a/1-3\nMKV\n>a\nMKVV\n>none\n\n")
    said = run("p.faa", "x.h5", "--model", model, folder=tmp_path)
    assert "virnucpro: warning: p.faa: record none is empty and is left out\n" in said
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["id"].asstr()[:].tolist() == ["a/1-3", "a"]


def test_a_kill_loses_only_what_was_being_embedded(fasta: Path, model: str, tmp_path: Path) -> None:
    many = tmp_path / "many.faa"
    records = fasta.read_text().split(">")[1:]
    many.write_text(
        "".join(
            f">r{repeat}{'A' * repeat}_{record.replace('a protein', '')}".replace("\n", f"\n{'a' * repeat}", 1)
            for repeat in range(60)
            for record in records
        )
    )
    shared = ("--model", model, "--token-budget", "1024", "--per-residue", "--device", "cpu")
    kept = tmp_path / "x.h5.unfinished"
    ids, sequences = read_sequences(many)
    engine = choose_engine(model, [-1], True, "cpu", "auto", 1024, 1022, "windows")
    work = plan_work(ids, sequences, 1024, engine.description)
    bins = len(work.bins) - 1
    process = start(many, "x.h5", *shared, folder=tmp_path)
    wait_for(lambda: process.poll() is not None or (kept.exists() and bins_begun(kept, bins) > 2))
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGSTOP)  # so that it is not done before the next one has started
    refused = start(many, "x.h5", *shared, folder=tmp_path)
    assert "x.h5: another process is writing it" in refused.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run(many, "y.h5", *shared, folder=tmp_path)
    assert not (tmp_path / "y.h5.unfinished").exists()

    # Finished embeddings are not computed again: other values, with their digest, are still there at the end.
    store = open_store(engine, work, kept)
    assert 2 < bins - len(store.missing()) < bins
    first = min({*range(bins)} - {*store.missing()})
    row = int(store.bins[first])
    store.means[row] = 7
    store._done["digest"][first] = np.void(store._digest(first))
    damaged = min({*range(bins)} - {first, *store.missing()})
    store.means[store.bins[damaged]] += 1
    assert damaged in store.missing()
    run(many, "x.h5", *shared, folder=tmp_path)
    with h5py.File(tmp_path / "x.h5") as resumed, h5py.File(tmp_path / "y.h5") as whole:
        marked = np.flatnonzero(work.rows == row)
        assert (resumed["embedding"][marked] == 7).all()
        others = np.setdiff1d(np.arange(len(ids)), marked)
        np.testing.assert_array_equal(resumed["embedding"][:][others], whole["embedding"][:][others])
        np.testing.assert_array_equal(resumed["residue_embedding"][:], whole["residue_embedding"][:])
    assert not kept.exists()


def bins_begun(kept: Path, bins: int) -> int:
    """Return the number of bins with a digest in a file of unfinished embeddings."""
    head = np.frombuffer(kept.read_bytes()[: 40 * bins], np.uint8)
    return int(head.reshape(-1, 40).any(axis=1).sum()) if len(head) == 40 * bins else 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; the processes would take it")
def test_several_processes_do_the_same_as_one(
    fasta: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, sequences = read_sequences(fasta)
    engine = choose_engine(model, [-1], True, "auto", "float32", 256, 1022, "cut")
    work = plan_work(ids, sequences, 256, engine.description)
    assert len(work.bins) > 2 * engines.BINS
    stores, done = [], []
    # This process sees two devices. The processes started for them see none, and use the CPU.
    monkeypatch.setattr(engines.torch.cuda, "device_count", lambda: 2)
    for device in ("cpu", "auto"):
        progress = Progress(device, 0, for_person=True)
        with kept_beside(tmp_path / device) as kept:
            stores.append(run_engine(engine._replace(device=device), work, kept, progress.advance))
            assert not open_store(engine, work, kept).missing()
        done.append(progress.done)
    assert done == [sum(map(work.tokens, range(len(work.bins) - 1)))] * 2
    np.testing.assert_array_equal(work.means(stores[0]), work.means(stores[1]))
    np.testing.assert_array_equal(stores[0].residues, stores[1].residues)
