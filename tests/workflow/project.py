"""A folder with samples and a small model, and the workflow run in it by Snakemake for real."""

import os
import random
import subprocess
import sys
from pathlib import Path

import yaml

from tests import oracle
from tests.conftest import ROOT

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


SNAKEMAKE = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]


def contigs(seed: int, count: int = 6) -> str:
    rng = random.Random(seed)
    made = ("".join(rng.choices("ACG", k=rng.randint(200, 900))) for _ in range(count))
    return "".join(f">s{seed}_c{number}\n{sequence}\n" for number, sequence in enumerate(made))


class Project:
    """A folder somewhere with samples, a config of its own and a small model, and Snakemake run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "out"
        oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), folder / "tiny.pt")
        self.config = {
            "samples": "samples.tsv",
            "outdir": "out",
            "model": "tiny.pt",
            "token_budget": 1024,
            "shard_tokens": 2000,
            "short_chunks": [],
            "call": False,
        }
        self.samples: dict[str, str] = {}  # what each one's FASTA holds

    def add(self, sample: str, text: str, kind: str = "contigs") -> None:
        (self.folder / f"{sample}.fa").write_text(text)
        self.samples[sample] = kind

    def write(self) -> None:
        rows = "".join(f"{sample}\t{sample}.fa\t{kind}\n" for sample, kind in self.samples.items())
        (self.folder / "samples.tsv").write_text(f"sample\tfasta\ttype\n{rows}")
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config))

    def command(self, *arguments: str) -> list[str]:
        return [
            *SNAKEMAKE,
            "--directory",
            str(self.folder),
            "--configfile",
            str(self.folder / "config.yaml"),
            *arguments,
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.write()
        return subprocess.run(self.command(*arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=600)

    def stamps(self, *below: str) -> dict[str, int]:
        files = [path for name in below for path in (self.results / name).rglob("*") if path.is_file()]
        return {str(path): path.stat().st_mtime_ns for path in files}
