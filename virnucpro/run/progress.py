"""How far a run is, from Snakemake's events, the logs of its jobs and what they have packed."""

import itertools
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from virnucpro.data.cards import read_token_budget
from virnucpro.data.provenance import read_provenance
from virnucpro.errors import UserError
from virnucpro.run.jobs import Job, Stage
from virnucpro.run.plan import Plan
from virnucpro.run.reasons import describe_reason, has_changed
from virnucpro.run.snakemake import Event

# The order in which a sample goes through the stages, which are Snakemake's rules.
ORDER = ["fetch_model", "token_budget", "references", "fragment", "prepare", "embed", "merge", "train", "call"]
ORDER += ["summary", "report"]

# FLOP/s of a core and of a GPU, until jobs say how fast they are.
CPU_FLOPS = 1e11
GPU_FLOPS = 5e13

Shard = tuple[str, str, str]  # sample, encoder, number


class Message(NamedTuple):
    """A line for the user, a warning or an error."""

    text: str
    is_error: bool = False


class Progress:
    """State of a run, whose Snakemake writes into `log`; `cores` share the work other than embedding."""

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
        self._explained: dict[str, str] = {}  # why jobs of a rule run again, as it was said last
        self._messages: list[Message] = []
        self._tokens: dict[Shard, int] = {}  # of the shards whose packing is known
        self._packed = self._guessed = 0.0  # tokens of packed samples, and what had been guessed of them
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
    def tokens(self) -> float:
        """How many tokens this run embeds; a guess while samples are not packed."""
        return sum(self._tokens.values()) + self.shards_to_pack * self._tokens_per_shard

    @property
    def tokens_done(self) -> float:
        """How many tokens are embedded."""
        jobs = [job for job in self._jobs.values() if job.rule == "embed"]
        return self._tokens_done + sum(job.share * self._tokens.get(_shard(job), 0) for job in jobs)

    @property
    def shards_to_pack(self) -> int:
        """How many shards are to be embedded whose tokens are not known."""
        return max(0, self.stages["embed"].jobs - len(self._tokens)) if "embed" in self.stages else 0

    @cached_property
    def _guess_per_shard(self) -> float:
        places = itertools.product(self.plan.samples, self.plan.encoders)
        guesses = [(self.plan.tokens(*place), len(self.plan.shards(*place))) for place in places]
        return sum(tokens for tokens, _ in guesses) / max(1, sum(shards for _, shards in guesses))

    @property
    def _tokens_per_shard(self) -> float:
        """The guess of a shard's tokens, corrected by the samples that have been packed."""
        return self._guess_per_shard * (self._packed / self._guessed if self._guessed else 1)

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

    def _guess_rate(self) -> None:
        with suppress(UserError):  # it is not there yet
            found = read_token_budget(self.plan.work / "token_budget.json")
            flop_per_token = 24 * found["model"]["layers"] * found["model"]["embed_dim"] ** 2
            self._guessed_rate = (CPU_FLOPS * self.cores if found["device"] == "cpu" else GPU_FLOPS) / flop_per_token

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
        stage.finished = time.monotonic()
        if job.rule == "token_budget":
            self._guess_rate()
        elif job.rule == "embed":
            self._tokens_done += self._tokens.get(_shard(job), 0)
        elif job.rule == "prepare":
            with suppress(UserError):  # a shared file system may not show the record yet
                self._note_packed(job.sample)

    def _note_packed(self, sample: str) -> None:
        for encoder in self.plan.encoders:
            shards = self._read_shards(sample, encoder)
            self._tokens |= shards
            self._guessed += len(shards) * self._guess_per_shard
            self._packed += sum(shards.values())

    def _fail(self, number: int) -> None:
        job = self._jobs.pop(number, None)
        if not job:
            return
        self._read_log(job)
        self.failures[number] = job
        self.stages[job.rule].failed += 1
        self.stages[job.rule].finished = time.monotonic()
        of_sample = f" for sample {job.sample}" if job.sample else ""
        reason = (job.error or job.last_line or "no error message in its log").removeprefix(f"sample {job.sample}: ")
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


def _order(rule: str) -> int:
    return ORDER.index(rule) if rule in ORDER else len(ORDER)
