"""The command `virnucpro embed-proteins`."""

from pathlib import Path
from typing import Any

import click

from virnucpro.command import FILE, POSITIVE, command
from virnucpro.config import DEFAULTS


@command(
    "embed-proteins",
    "proteome.faa.gz proteome.h5",
    "proteome.faa embeddings.npz --model esm2_t33_650M_UR50D --layers 33 20",
)
@click.argument("fasta", type=FILE, help="proteins, FASTA, plain or compressed")
@click.argument("output", type=FILE, help="file to write: .h5 or .npz")
@click.option("--model", default=DEFAULTS["model"], help="name of an ESM-2, or path of a checkpoint")
@click.option(
    "--layers",
    type=int,
    multiple=True,
    default=(-1,),
    metavar="N...",
    help="layers wanted; -1 is the last",
)
@click.option("--per-residue", is_flag=True, help="write every residue's embedding beside the mean")
@click.option(
    "--device", type=click.Choice(["auto", "gpu", "cpu"]), default="auto", help="auto is all GPUs, or the CPU"
)
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", help="of the weights"
)
@click.option("--token-budget", type=POSITIVE, metavar="TOKENS", help="at once; what suits the device if not given")
@click.option(
    "--max-sequence-length",
    type=POSITIVE,
    default=DEFAULTS["max_sequence_length"],
    metavar="RESIDUES",
    help="what the model takes at once",
)
@click.option(
    "--long-proteins",
    type=click.Choice(["cut", "windows"]),
    default="cut",
    help="what becomes of those that are longer",
)
def embed_proteins(fasta: Path, output: Path, **options: Any) -> None:
    """Embed the proteins of a FASTA file with ESM-2, packed without padding.

    Run the same command again to resume.
    """
    from virnucpro.embedding.proteins import embed_file

    embed_file(fasta, output, **options)
