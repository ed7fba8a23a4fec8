"""From a FASTA file to a file of means, each command from start to end: virnucpro, fair-esm's extract.py and pepe-cli.

extract.py is in fair-esm's repository (scripts/extract.py) and in no package: its path is the argument.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import esm
import torch
import transformers
from common import SEED, write_result
from embedding import CPU, SIZES, hugging_face, sequences_of
from transformers import EsmTokenizer

PEPE = Path(__file__).parents[1] / ".venv-pepe/bin/pepe"
NAME = "esm2_t6_8M_UR50D"
SIZE = SIZES["8M"]
TOKENS = 100_000
REPEATS = 3


def write_fair_esm(folder: Path) -> Path:
    """Write random weights as fair-esm's own checkpoints hold them, and return their path."""
    model = esm.ESM2(SIZE.layers, SIZE.embed_dim, SIZE.heads)
    sizes = SimpleNamespace(
        encoder_layers=SIZE.layers,
        encoder_embed_dim=SIZE.embed_dim,
        encoder_attention_heads=SIZE.heads,
        token_dropout=True,
    )
    state = {f"encoder.sentence_encoder.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"cfg": {"model": sizes}, "model": state}, folder / f"{NAME}.pt")
    torch.save({"model": {}}, folder / f"{NAME}-contact-regression.pt")
    return folder / f"{NAME}.pt"


def write_hugging_face(folder: Path) -> None:
    """Write random weights into a cache of Hugging Face, from which pepe-cli takes a model by its name."""
    repository = folder / "hub" / f"models--facebook--{NAME}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    hugging_face(SIZE, CPU, torch.float32).save_pretrained(snapshot)
    (folder / "vocab.txt").write_text("\n".join(esm.Alphabet.from_architecture("ESM-1b").all_toks))
    EsmTokenizer(folder / "vocab.txt").save_pretrained(snapshot)


def seconds(command: list[object], output: Path, **environment: str) -> float:
    """Return how long a command takes that writes a file or a folder, which is then deleted."""
    start = time.perf_counter()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=os.environ | environment)
    taken = time.perf_counter() - start
    if done.returncode or not output.exists():
        sys.exit(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    shutil.rmtree(output) if output.is_dir() else output.unlink()
    return taken


def main() -> None:
    """Write results/commands.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extract", type=Path, help="fair-esm's scripts/extract.py")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sequences = sequences_of("protein", options.tokens)
        fasta = folder / "proteins.faa"
        fasta.write_text("".join(f">p{number}\n{sequence}\n" for number, sequence in enumerate(sequences)))
        checkpoint = write_fair_esm(folder)
        write_hugging_face(folder)
        trusted = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}  # fair-esm's checkpoints hold more than tensors
        offline = {"HF_HOME": temporary, "HF_HUB_OFFLINE": "1"}
        plain = folder / "plain.pt"
        torch.save(esm.ESM2(SIZE.layers, SIZE.embed_dim, SIZE.heads).state_dict(), plain)
        pepe = ["--fasta_path", fasta, "--model_name", f"facebook/{NAME}", "--output_path", folder / "pepe"]
        commands = {
            "fair-esm extract.py": (
                [sys.executable, options.extract, checkpoint, fasta, folder / "fair", "--include", "mean", "--nogpu"],
                folder / "fair",
                trusted,
            ),
            "pepe-cli": (
                [PEPE, *pepe, "--extract_embeddings", "mean_pooled", "--device", "cpu"],
                folder / "pepe",
                offline,
            ),
            "virnucpro embed-proteins": (
                [sys.executable, "-m", "virnucpro", "embed-proteins", fasta, folder / "v.h5", "--model", plain],
                folder / "v.h5",
                {},
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for repeat in range(REPEATS):
            for name, (command, output, environment) in commands.items():
                times[name].append(seconds(command, output, **environment))
                print(repeat, name, f"{times[name][-1]:.1f} s", flush=True)
    median = {name: statistics.median(taken) for name, taken in times.items()}
    fastest_peer = min(taken for name, taken in median.items() if not name.startswith("virnucpro"))
    rows = [
        (name, f"{taken:.1f}", f"{min(times[name]):.1f} to {max(times[name]):.1f}", f"{fastest_peer / taken:.2f}")
        for name, taken in median.items()
    ]
    tokens = sum(len(sequence) + 2 for sequence in sequences)
    note = (
        f"{len(sequences):,} proteins of natural lengths, {tokens:,} tokens, 8M with random weights in FP32; medians "
        f"of {REPEATS} interleaved repeats of the whole command, at the peers' defaults. torch {torch.__version__}, "
        f"transformers {transformers.__version__}, fair-esm 2.0.0, pepe-cli 1.5.0."
    )
    header = ("command", "seconds", "from, to", "times as fast as the best peer")
    write_result("commands", "From FASTA to embeddings, start to finish", header, rows, note)


if __name__ == "__main__":
    main()
