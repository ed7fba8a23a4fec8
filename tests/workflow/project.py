"""A folder with samples and a small model, and the workflow run in it by Snakemake for real."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from tests import oracle
from tests.conftest import AMINO_ACIDS, ROOT
from virnucpro.calling.classifier import Classifier, save_classifier
from virnucpro.calling.requirements import Requirements
from virnucpro.config import DEFAULTS
from virnucpro.data.description import EmbeddingDescription, describe_proteins
from virnucpro.data.files import file_digest

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
SNAKEMAKE = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]


def contigs(seed: int, count: int = 6) -> str:
    rng = random.Random(seed)
    made = ("".join(rng.choices("ACG", k=rng.randint(200, 900))) for _ in range(count))
    return "".join(f">s{seed}_c{number}\n{sequence}\n" for number, sequence in enumerate(made))


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Job(NamedTuple):
    """A job that Snakemake ran, and its time; the name of its log has sample and shard."""

    rule: str
    log: str
    start: float
    end: float


class Project:
    """A temporary folder with samples, a config and a small model, in which Snakemake runs."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        self.folder = folder
        self.environment = environment
        self.results = folder / "out"
        self.work = self.results / "work"
        if not (folder / "tiny.pt").exists():
            oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), folder / "tiny.pt")
        self.config = {
            "samples": "samples.tsv",
            "outdir": "out",
            "model": "tiny.pt",
            "token_budget": 1024,
            "shard_tokens": 300,
            "proteins": "frames",
            "short_chunks": [],
            "call": False,
        }
        self.samples: dict[str, str] = {}  # what each one's FASTA holds

    def add(self, sample: str, text: str, kind: str = "contigs") -> None:
        (self.folder / f"{sample}.fa").write_text(text)
        self.samples[sample] = kind

    def add_large_bins(self, sample: str) -> None:
        """Add a sample with bins of about 1.6 GB, so that a process with less memory fails."""
        rng = random.Random(1)
        proteins = (f">p{number}\n{''.join(rng.choices(AMINO_ACIDS, k=60))}\n" for number in range(40_000))
        self.add(sample, "".join(proteins), kind="proteins")
        self.config |= {"token_budget": 1_200_000, "shard_tokens": 4_000_000}

    def add_classifier(self, name: str = "tiny", seed: int = 0) -> None:
        """Have contigs called by a classifier for the small model that has learned nothing, but is always sure."""
        rng = np.random.default_rng(seed)
        networks, hidden, inputs = 2, 4, 32 + 1
        embedding = EmbeddingDescription(
            encoder="tiny",
            encoder_sha256=file_digest(self.folder / "tiny.pt"),
            embed_dim=32,
            layers=(2,),
            pooling="mean",
            precision="float32",
            **{name: DEFAULTS[name] for name in ("max_sequence_length", "long_proteins")},
            **describe_proteins({**DEFAULTS, "proteins": self.config["proteins"], "type": "contigs"}),
        )
        classifier = Classifier(
            mean=np.zeros(inputs, np.float32),
            scale=np.ones(inputs, np.float32),
            hidden_weight=rng.normal(size=(networks, hidden, inputs)).astype(np.float16),
            hidden_bias=rng.normal(size=(networks, hidden)).astype(np.float32),
            output_weight=rng.normal(size=(networks, hidden)).astype(np.float32),
            output_bias=rng.normal(size=networks).astype(np.float32),
            contig_mean=np.zeros(5, np.float32),
            contig_scale=np.ones(5, np.float32),
            contig_weight=rng.normal(size=5).astype(np.float32),
            contig_bias=np.zeros(1, np.float32),
            requirements=Requirements(embedding, cellular_to=((0, -5.5),), fewest_residues=1, most_genes=40),
        )
        save_classifier(classifier, self.folder / f"{name}.safetensors")
        self.config |= {"call": True, "classifier": f"{name}.safetensors"}

    def copy(self, folder: Path) -> "Project":
        """Return the project in another folder, with its results and all that Snakemake has noted."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        made = Project(folder, self.environment)
        made.config, made.samples = self.config.copy(), self.samples.copy()
        return made

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
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=3600
        )

    def complete(self, *arguments: str) -> Counter[str]:
        """Run to the end, and return the number of jobs by rule."""
        since = time.time()
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return Counter(job.rule for job in self.jobs(since))

    def planned(self, *arguments: str) -> Counter[str]:
        """Return the number of jobs by rule that a run would start, without the target rule."""
        done = self.run("-n", *arguments)
        assert done.returncode == 0, done.stderr
        rows = re.findall(r"^([a-z_]+) +(\d+)$", done.stdout.partition("Reasons:")[0].rpartition("Job stats:")[2], re.M)
        return Counter({rule: int(count) for rule, count in rows if rule not in ("all", "total")})

    def embed_processes(self, shard: str, sample: str = "soil") -> list[int]:
        """Return the ids of the processes that embed a shard of this project, and of no other that runs beside it."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it may have just ended
                command = (entry / "cmdline").read_bytes().split(b"\0")
                here = (entry / "cwd").readlink() == self.folder
                if here and b"embed" in command and f"out/work/{sample}/manifests/{shard}.json".encode() in command:
                    found.append(int(entry.name))
        return found

    def starve(self, sample: str, shard: str) -> None:
        """Leave the process that embeds a shard memory for half a bin, and for its threads, until it has noticed.

        To the process it is a device that is smaller than the one for which its bins were packed.
        """
        log = self.work / "logs" / sample / f"embed_{shard}.log"
        log.unlink(missing_ok=True)
        wait_for(lambda: list((self.work / sample / "shards").glob(f".{shard}.h5.*/*.h5")))  # the model is there
        process = min(self.embed_processes(shard, sample))  # any other is a fork of it, about to become something else
        os.kill(process, signal.SIGSTOP)  # or it might be done before it is starved
        least = sys.maxsize

        def noticed() -> bool:
            nonlocal least
            used = int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()
            least = min(least, used)
            resource.prlimit(process, resource.RLIMIT_AS, (least + 800_000_000, resource.RLIM_INFINITY))
            os.kill(process, signal.SIGCONT)
            return "bins are split" in log.read_text()

        wait_for(noticed)

    def jobs(self, since: float = 0) -> list[Job]:
        """Return the jobs that started after a time and came to an end, as Snakemake notes them beside each output."""
        notes = [json.loads(path.read_text()) for path in (self.folder / ".snakemake" / "metadata").rglob("*")]
        spans: dict[tuple[str, str], list[float]] = {}
        for note in notes:
            if note["starttime"] > since:
                spans.setdefault((note["rule"], note["log"][0]), []).extend((note["starttime"], note["endtime"]))
        jobs = [Job(*job, min(times), max(times)) for job, times in spans.items()]
        return sorted(jobs, key=lambda job: job.start)

    def names_of_shards(self, sample: str) -> list[str]:
        """Return a sample's shards, where no other has left anything."""
        packed = json.loads((self.work / sample / "pack.json").read_text())["details"]
        names: list[str] = [shard["shard"] for shard in packed["shards"]]
        for folder, suffix in (("manifests", "json"), ("shards", "h5"), ("shards", "json")):
            found = sorted(path.stem for path in (self.work / sample / folder).glob(f"*.{suffix}"))
            assert found == names
        return names

    def stamps(self, *below: str) -> dict[str, int]:
        files = [path for name in below for path in (self.results / name).rglob("*") if path.is_file()]
        return {str(path): path.stat().st_mtime_ns for path in files}
