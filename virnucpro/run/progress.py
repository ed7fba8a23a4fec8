"""Progress of a run, from Snakemake's events, the logs of its jobs and their manifests."""

import itertools
import shutil
import time
from collections import deque
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from virnucpro.data.provenance import read_provenance
from virnucpro.errors import UserError
from virnucpro.run.jobs import Job, Stage
from virnucpro.run.plan import TRAINING, Plan
from virnucpro.run.reasons import describe_reason, has_changed
from virnucpro.run.shards import TOKENS_PER_LETTER
from virnucpro.run.snakemake import Event

# Stages, i.e. rules of Snakemake, in the order in which a sample goes through them.
ORDER = ["fetch_model", "token_budget", "references", "fragment", "prepare", "embed", "merge", "train", "call"]
ORDER += ["summary"]

MEASURED_SECONDS = 30  # of embedding, before the time left is known
MOST_REPORTS = 1000  # that the speed is measured over

FULL = "no space left on the disk of the results; free some"
LEAST_FREE = 1_000_000  # bytes; with less, a stage cannot write its log
KILLED = "its process was killed, perhaps for lack of memory; try a lower --token-budget or fewer --cores"

# Unit of the letters, and name of a record, by the proteins of a sample.
UNITS = dict.fromkeys(("genes", "frames"), ("bp", "contig"))
UNITS |= {"prodigal": ("residues", "contig"), "proteins": ("residues", "protein")}

Shard = tuple[str, str, str]  # sample, encoder, number


class Message(NamedTuple):
    """A line for the user, a warning or an error."""

    text: str
    is_error: bool = False


class Progress:
    """State of a run. Snakemake writes into `log`; `cores` are shared by all jobs that do not embed."""

    def __init__(self, plan: Plan, log: Path, cores: int) -> None:
        self.plan = plan
        self.log = log
        self.cores = cores
        self.started = time.monotonic()
        self.stages: dict[str, Stage] = {}
        self.failures: dict[int, Job] = {}
        self.announced: list[Event] = []  # jobs
        self._snakemake = Job("", "", "", "", log, time.time(), self.started)
        self._jobs: dict[int, Job] = {}
        self._said: set[str] = set()
        self._explained: dict[str, str] = {}  # last shown reason why jobs of a rule run again
        self._messages: list[Message] = []
        self._tokens: dict[Shard, int] = {}  # tokens of packed shards
        self._tokens_done = self._tokens_kept = 0.0
        self._reports: deque[tuple[float, float]] = deque(maxlen=MOST_REPORTS)  # times, and tokens embedded by then

    def handle(self, event: Event) -> None:
        """Update the state by an event."""
        kind = event["event"]
        if kind == "run_info":
            jobs = event["stats"]
            rules = sorted(jobs.keys() - {"all", "total"}, key=[*ORDER, *jobs].index)
            self.stages = {rule: Stage(rule, jobs[rule]) for rule in rules}
        elif kind == "job_info":
            self._start(event)
        elif kind == "job_finished":
            self._finish(event["job_id"])
        elif kind == "job_error":
            self._fail(event["jobid"])
        elif event["message"] and not self._snakemake.error:
            self._snakemake.error = " ".join(event["message"].split())

    def read_logs(self) -> None:
        """Read the new lines in the logs of running jobs."""
        if not any(stage.started for stage in self.stages.values()):  # later it repeats the jobs' logs
            self._read_log(self._snakemake)
        for job in self._jobs.values():
            self._read_log(job)
        kept = self._tokens_kept + sum(job.kept * self._tokens.get(_shard(job), 0) for job in self._embedding)
        embedded = self.tokens_done - kept
        if embedded and embedded != (self._reports[-1][1] if self._reports else 0):
            self._reports.append((time.monotonic(), embedded))

    @property
    def problem(self) -> str:
        """Snakemake's message on its failure."""
        return self._snakemake.error or self._snakemake.last_line

    def take_messages(self) -> list[Message]:
        """Return the new messages since the last call."""
        messages, self._messages = self._messages, []
        return messages

    @property
    def tokens(self) -> float:
        """Number of tokens that this run embeds; an estimate until all samples are packed."""
        known = self._tokens.values()
        mean = sum(known) / len(known) if known else self._guess_per_shard
        return mean * max(self._embed.jobs, len(known))

    @property
    def tokens_done(self) -> float:
        """Number of tokens that are embedded."""
        return self._tokens_done + sum(job.share * self._tokens.get(_shard(job), 0) for job in self._embedding)

    @property
    def letters(self) -> float:
        """Estimated number of letters, bases of contigs or residues of proteins, that this run embeds."""
        return self._letters * self._embed.jobs / self._shards

    @property
    def records(self) -> int:
        """Estimated number of records, contigs or proteins, that this run embeds; 0 until all are prepared."""
        prepare = self.stages.get("prepare", Stage("prepare"))
        return round(self._records * self._embed.jobs / self._shards) if prepare.done == prepare.jobs else 0

    @cached_property
    def units(self) -> tuple[str, str]:
        """Unit of the letters and name of a record, e.g. bp and contig."""
        units = {UNITS[self.plan.proteins(sample)] for sample in self._samples}
        return units.pop() if len(units) == 1 else ("letters", "record")

    @property
    def _embed(self) -> Stage:
        return self.stages.get("embed", Stage("embed"))

    @property
    def _embedding(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.rule == "embed"]

    @cached_property
    def _samples(self) -> list[str]:
        return [*self.plan.samples, *([TRAINING] if self.plan.training else [])]

    @cached_property
    def _places(self) -> list[tuple[str, str]]:
        """Samples and encoders of the run."""
        return list(itertools.product(self._samples, self.plan.encoders))

    @cached_property
    def _shards(self) -> int:
        return sum(len(self.plan.shards(*place)) for place in self._places)

    @cached_property
    def _letters(self) -> float:
        return sum(self.plan.tokens(one) / TOKENS_PER_LETTER[self.plan.proteins(one)] for one in self._samples)

    @cached_property
    def _records(self) -> int:
        """Number of records of all samples; 0 if a shared file system does not show a table yet."""
        tables = (self.plan.work / sample / "prepared" / "records.tsv" for sample in self._samples)
        try:
            return sum(table.read_bytes().count(b"\n") - 1 for table in tables)
        except FileNotFoundError:
            return 0

    @cached_property
    def _guess_per_shard(self) -> float:
        return sum(self.plan.tokens(*place) for place in self._places) / self._shards

    @property
    def rate(self) -> float:
        """Tokens/s of all jobs together by their last reports, pauses included; 0 until it is measured."""
        if not self._reports:
            return 0
        (begin, before), (end, after) = self._reports[0], self._reports[-1]
        return max(0, after - before) / (end - begin) if end - begin >= MEASURED_SECONDS else 0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the end of the run; None if not known yet."""
        others = [stage for stage in self.stages.values() if stage.name != "embed"]
        seconds = sum(stage.mean_seconds * (stage.jobs - stage.done) for stage in others) / self.cores
        tokens = max(self.tokens - self.tokens_done, 0)
        if not tokens:
            return seconds
        return seconds + tokens / self.rate if self.rate else None

    def _read_shards(self, sample: str, encoder: str) -> dict[Shard, int]:
        """Return the tokens of a sample's shards."""
        record = read_provenance(self.plan.work / sample / f"pack{encoder}.json", "pack")
        return {(sample, encoder, shard["shard"]): shard["tokens"] for shard in record.details["shards"]}

    def _start(self, event: Event) -> None:
        rule, wildcards = event["rule_name"], event["wildcards"]
        if rule == "all":
            return
        self.announced.append(event)
        log = Path(event["log"][0]) if event["log"] else None
        sample, encoder, shard = (wildcards.get(name, "") for name in ("sample", "encoder", "shard"))
        job = Job(rule, sample, encoder, shard, log, event["time"], time.monotonic(), folder=self.plan.work)
        if has_changed(event["reason"]) and self._explained.get(rule) != (why := describe_reason(event["reason"])):
            self._explained[rule] = why
            self._say(f"{rule} runs again{f', first for {job.sample}' if job.sample else ''}: {why}")
        self._jobs[event["jobid"]] = job
        stage = self.stages.setdefault(rule, Stage(rule))
        if self.failures.pop(event["jobid"], None):  # a retry
            stage.started -= 1
            stage.failed -= 1
        stage.started += 1
        stage.jobs = max(stage.jobs, stage.started)
        if rule == "embed":
            with suppress(UserError):  # a shared file system may not show the record yet
                shards = self._read_shards(job.sample, job.encoder)
                self._tokens.setdefault(_shard(job), shards.get(_shard(job), 0))

    def _finish(self, number: int) -> None:
        job = self._jobs.pop(number, None)
        if not job:
            return
        self._read_log(job)
        stage = self.stages[job.rule]
        stage.done += 1
        stage.seconds += time.monotonic() - job.started
        if job.rule == "embed":
            tokens = self._tokens.get(_shard(job), 0)
            self._tokens_done += tokens
            self._tokens_kept += job.kept * tokens
        elif job.rule == "prepare":
            with suppress(UserError):  # a shared file system may not show the record yet
                for encoder in self.plan.encoders:
                    self._tokens |= self._read_shards(job.sample, encoder)

    def _fail(self, number: int) -> None:
        job = self._jobs.pop(number, None)
        if not job:
            return
        self._read_log(job)
        self.failures[number] = job
        self.stages[job.rule].failed += 1
        of_sample = f" for sample {job.sample}" if job.sample else ""
        was_killed = not job.error and (not job.last_line or job.last_line.startswith("virnucpro: "))
        reason = (job.error or job.last_line).removeprefix(f"sample {job.sample}: ")
        if was_killed:
            reason = FULL if shutil.disk_usage(self.log.parent).free < LEAST_FREE else KILLED
        self._say(f"{job.rule} failed{of_sample}: {reason}", is_error=True)
        if job.log:
            self._say(f"its log is {job.log}", is_error=True)

    def _read_log(self, job: Job) -> None:
        for line in job.read_log():
            self._say(line)

    def _say(self, text: str, is_error: bool = False) -> None:
        if text not in self._said:
            self._said.add(text)
            self._messages.append(Message(text, is_error))


def _shard(job: Job) -> Shard:
    return job.sample, job.encoder, job.shard
