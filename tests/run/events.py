"""A simulated run: its plan, and Snakemake's events in the format of the child process."""

import time
from pathlib import Path

from virnucpro.config import DEFAULTS
from virnucpro.data.provenance import write_provenance
from virnucpro.run.outside import OutsideFiles
from virnucpro.run.plan import Plan
from virnucpro.run.progress import Progress


def make_progress(folder: Path, samples: int = 2, cores: int = 2) -> Progress:
    files = {}
    for number in range(samples):
        path = folder / f"s{number}.faa"
        path.write_text(">a\n" + "M" * 97)  # 100 bytes: estimated as 100 tokens
        files[f"s{number}"] = (path, "proteins")
    config = {**DEFAULTS, "outdir": str(folder / "out"), "samples": "x", "shard_tokens": 50}
    outside = OutsideFiles(folder / "digests.json")
    for path, _ in files.values():
        outside.look_at(path)
    return Progress(Plan(config, files, Path(), outside), folder / "snakemake.log", cores)


class Events:
    """Snakemake's events, in the format of the child process."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.last = 0

    def plan(self, **jobs: int) -> None:
        total = {"all": 1, "total": sum(jobs.values()) + 1}
        self.progress.handle({"event": "run_info", "message": "", "time": 0, "stats": jobs | total})

    def start(self, rule: str, log: Path | None = None, **wildcards: str) -> int:
        self.last += 1
        event = {"event": "job_info", "message": "", "time": time.time() - 1, "jobid": self.last, "rule_name": rule}
        event |= {"wildcards": wildcards, "log": [str(log)] if log else [], "reason": "Missing output files: x"}
        self.progress.handle(event)
        return self.last

    def finish(self, job: int) -> None:
        self.progress.handle({"event": "job_finished", "message": "", "time": 0, "job_id": job})

    def fail(self, job: int) -> None:
        self.progress.handle({"event": "job_error", "message": "", "time": 0, "jobid": job})


def write_packed(progress: Progress, sample: str, *tokens: int) -> None:
    shards = [{"shard": f"{number:04d}", "tokens": count} for number, count in enumerate(tokens, start=1)]
    write_provenance(progress.plan.work / sample / "pack.json", "pack", {}, {}, [], {"shards": shards})
