"""How far a run is, from Snakemake's events, the logs of its jobs and what they have packed."""

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from virnucpro.data.cards import read_token_budget
from virnucpro.data.provenance import RECORDS, read_provenance
from virnucpro.errors import UserError
from virnucpro.run.jobs import Job, Stage
from virnucpro.run.plan import Plan
from virnucpro.run.shards import guess_tokens
from virnucpro.run.snakemake import Event

# The order in which a sample goes through the stages, which are Snakemake's rules.
ORDER = [
    *("fetch_model", "token_budget", "fetch_nucleotide_model", "nucleotide_token_budget", "fragment", "prepare"),
    *("embed", "embed_nucleotides", "merge", "train", "call", "summary", "report"),
]

# FLOP/s of a core and of a GPU, until jobs say how fast they are.
CPU_FLOPS = 1e11
GPU_FLOPS = 5e13


@dataclass
class Message:
    """A line for the user, a warning or an error."""

    text: str
    is_error: bool = False


class Progress:
    """What is known of a run.

    Args:
        plan: of the run.
        log: file that Snakemake writes.
        cores: that share the work other than embedding.
    """

    def __init__(self, plan: Plan, log: Path, cores: int) -> None:
        self.plan = plan
        self.log = log
        self.cores = cores
        self.started = time.monotonic()
        self.stages: dict[str, Stage] = {}
        self.failures: dict[int, Job] = {}
        self.announced: list[Event] = []  # jobs
        self._snakemake = Job("", "", "", log, time.time(), self.started)
        self._jobs: dict[int, Job] = {}
        self._said: set[str] = set()
        self._messages: list[Message] = []
        self._tokens: dict[tuple[str, str], int] = {}  # of the shards to be embedded
        self._guesses: dict[str, float] = {}  # of the tokens of samples that are not packed yet
        self._packed: defaultdict[str, float] = defaultdict(float)  # tokens of those that have been since, by kind
        self._guessed: defaultdict[str, float] = defaultdict(float)  # what had been guessed of them
        self._tokens_done = 0
        self._embedding_since: float | None = None
        self._guessed_rate = 0.0

    def handle(self, event: Event) -> None:
        """Take in an event."""
        kind = event["event"]
        if kind == "run_info":
            self._plan(event["stats"])
        elif kind == "job_info":
            self._start(event)
        elif kind == "job_finished":
            self._finish(event["job_id"])
        elif kind == "job_error":
            self._fail(event["jobid"])
        elif event["message"] and not self._snakemake.error:
            self._snakemake.error = " ".join(event["message"].split())

    def read_logs(self) -> None:
        """Take in what the jobs that run have written since the last time."""
        if not any(stage.started for stage in self.stages.values()):  # later it repeats what the jobs' logs say
            self._read_log(self._snakemake)
        for job in self._jobs.values():
            self._read_log(job)

    @property
    def problem(self) -> str:
        """What Snakemake said of why it failed."""
        return self._snakemake.error or self._snakemake.last_line

    def take_messages(self) -> list[Message]:
        """Return what is to be said since the last time."""
        messages, self._messages = self._messages, []
        return messages

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._jobs)

    @property
    def tokens(self) -> float:
        """How many tokens this run embeds; a guess while samples are not packed."""
        return sum(self._tokens.values()) + sum(guess * self._factor(name) for name, guess in self._guesses.items())

    @property
    def tokens_are_guessed(self) -> bool:
        """Whether `tokens` may change."""
        return bool(self._guesses)

    @property
    def tokens_done(self) -> float:
        """How many tokens are embedded."""
        jobs = [job for job in self._jobs.values() if job.rule == "embed"]
        return self._tokens_done + sum(job.share * self._tokens[job.sample, job.shard] for job in jobs)

    @property
    def rate(self) -> float:
        """Tokens/s of the jobs that embed, as they say; where none has said it yet, of all so far or a guess."""
        jobs = [job for job in self._jobs.values() if job.rule == "embed"]
        rates = [job.rate for job in jobs if job.rate]
        return sum(rates) / len(rates) * len(jobs) if rates else self._mean_rate or self._guessed_rate

    @property
    def seconds_left(self) -> float | None:
        """How long the run goes on, or None where that cannot be told yet."""
        others = [stage for stage in self.stages.values() if stage.name != "embed"]
        seconds = sum(stage.mean_seconds * (stage.jobs - stage.done) for stage in others) / self.cores
        tokens = max(self.tokens - self.tokens_done, 0)
        if not tokens:
            return seconds
        return seconds + tokens / self.rate if self.rate else None

    @property
    def _mean_rate(self) -> float:
        if self._embedding_since is None:
            return 0
        embed = self.stages["embed"]
        until = time.monotonic() if embed.started > embed.done + embed.failed else embed.finished
        return self.tokens_done / max(until - self._embedding_since, 1e-3)

    def _plan(self, jobs: dict[str, int]) -> None:
        self.stages = {name: Stage(name, jobs[name]) for name in sorted(jobs.keys() - {"all", "total"}, key=_order)}
        self._guess_rate()
        for sample, (fasta, _) in self.plan.samples.items() if "embed" in jobs else ():
            if self.plan.must_run("prepare", sample):
                self._guesses[sample] = guess_tokens(fasta, self.plan.proteins(sample))
            else:
                shards = self._read_shards(sample)
                self._tokens |= {key: shards[key] for key in shards if self.plan.must_run("embed", *key)}

    def _guess_rate(self) -> None:
        with suppress(UserError):  # it is not there yet
            found = read_token_budget(self.plan.outdir / "token_budget.json")
            flop_per_token = 24 * found["model"]["layers"] * found["model"]["embed_dim"] ** 2
            self._guessed_rate = (CPU_FLOPS * self.cores if found["device"] == "cpu" else GPU_FLOPS) / flop_per_token

    def _read_shards(self, sample: str) -> dict[tuple[str, str], int]:
        """Return the tokens of a sample's shards."""
        record = read_provenance(self.plan.outdir / sample / RECORDS, "pack")
        return {(sample, shard["shard"]): shard["tokens"] for shard in record.details["shards"]}

    def _start(self, event: Event) -> None:
        rule, wildcards = event["rule_name"], event["wildcards"]
        if rule == "all":
            return
        self.announced.append(event)
        log = Path(event["log"][0]) if event["log"] else None
        job = Job(rule, wildcards.get("sample", ""), wildcards.get("shard", ""), log, event["time"], time.monotonic())
        self._jobs[event["jobid"]] = job
        if rule not in self.stages:
            self.stages = dict(sorted([*self.stages.items(), (rule, Stage(rule))], key=lambda item: _order(item[0])))
        stage = self.stages[rule]
        if self.failures.pop(event["jobid"], None):  # it is tried again
            stage.started -= 1
            stage.failed -= 1
        stage.started += 1
        stage.jobs = max(stage.jobs, stage.started)
        if rule == "embed":
            self._embedding_since = self._embedding_since or time.monotonic()
            self._tokens.setdefault((job.sample, job.shard), 0)

    def _finish(self, number: int) -> None:
        job = self._jobs.get(number)
        if not job:
            return
        self._read_log(job)
        del self._jobs[number]
        stage = self.stages[job.rule]
        stage.done += 1
        stage.seconds += time.monotonic() - job.started
        stage.finished = time.monotonic()
        if job.rule == "token_budget":
            self._guess_rate()
        elif job.rule == "embed":
            self._tokens_done += self._tokens[job.sample, job.shard]
        elif job.rule == "prepare":
            with suppress(UserError):  # a shared file system may not show the record yet
                self._note_packed(job.sample)

    def _note_packed(self, sample: str) -> None:
        shards = self._read_shards(sample)
        self._tokens |= shards
        if sample in self._guesses:
            kind = self.plan.samples[sample][1]
            self._guessed[kind] += self._guesses.pop(sample)
            self._packed[kind] += sum(shards.values())

    def _fail(self, number: int) -> None:
        job = self._jobs.pop(number, None)
        if not job:
            return
        self._read_log(job)
        self.failures[number] = job
        self.stages[job.rule].failed += 1
        self.stages[job.rule].finished = time.monotonic()
        of_sample = f" for sample {job.sample}" if job.sample else ""
        reason = (job.error or job.last_line or "it ended without a word").removeprefix(f"sample {job.sample}: ")
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

    def _factor(self, sample: str) -> float:
        """Return how far off guesses were for the samples of a kind that have been packed since."""
        kind = self.plan.samples[sample][1]
        return self._packed[kind] / self._guessed[kind] if self._guessed[kind] else 1.0


def _order(rule: str) -> int:
    return ORDER.index(rule) if rule in ORDER else len(ORDER)
