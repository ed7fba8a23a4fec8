"""The jobs of a run, with keys that cover their options, input files and earlier jobs."""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from virnucpro.calling import CALL_FILES, POOLED_FILES, PREDICTION_FILES, SENSITIVITIES
from virnucpro.calling.requirements import DEFAULT, read_requirements, screen_beside, settle_layers
from virnucpro.config import check_beginning, check_config, find_references, read_samples, read_training
from virnucpro.data.description import NUCLEOTIDES, PROTEINS
from virnucpro.data.records import flye_table
from virnucpro.encoders.names import TOKENIZER, local_checkpoint, model_name
from virnucpro.errors import UserError
from virnucpro.run.machine import settle_device
from virnucpro.run.outside import OutsideFiles
from virnucpro.run.shards import guess_tokens, shards_of_tokens

# Increase the version of a stage when its output changes for the same inputs and settings.
VERSIONS = {
    "fetch_model": 1,
    "token_budget": 1,
    "prepare": 4,
    "embed": 1,
    "merge": 2,
    "references": 1,
    "call": 6,
    "summary": 4,
    "report": 6,
    "fragment": 2,
    "train": 3,
}

RUN_FILES = (*POOLED_FILES, "summary.tsv", "left_out.tsv", "packing.svg", "summary.txt", "report.html")

TRAINING = "training"  # name of the sample with the fragments of a training


class Training(NamedTuple):
    """A table of labeled FASTA files, its files, and its number of groups."""

    sheet: Path
    fastas: Sequence[Path]
    groups: int


class Plan:
    """The jobs of a run.

    Args:
        config: Configuration, checked, with defaults.
        samples: Path and type (`contigs`, `proteins`, or `prodigal`: genes of contigs) of each sample's FASTA, by name.
        genes: Files of samples with genes of their own, by name.
        outside: Digests of all files from outside the run.
        device: Device of the token budget, `cpu` or `gpu`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        samples: Mapping[str, tuple[Path, str]],
        classifier: Path,
        outside: OutsideFiles,
        training: Training | None = None,
        references: Sequence[Path] = (),
        device: str = "cpu",
        genes: Mapping[str, Path] | None = None,
    ) -> None:
        self.config = config
        self.samples = samples
        self.genes = genes or {}
        self.classifier = classifier
        self.outside = outside
        self.training = training
        self.references = references
        self.heads = Path(config["heads"]) if "heads" in config else None
        self.device = device
        self.models = {PROTEINS: config["model"]}
        if "nucleotide_model" in config:
            self.models[NUCLEOTIDES] = config["nucleotide_model"]
        self.encoders = list(self.models)  # values of the wildcard `encoder`
        self.called = [name for name, (_, kind) in samples.items() if kind != "proteins" and config["call"]]
        self.key, self.tokens = cache(self._key), cache(self._tokens)

    def proteins(self, sample: str) -> str:
        """Return the proteins of a sample: `genes` or `frames` of contigs, or the type of its FASTA."""
        kind = "contigs" if sample == TRAINING else self.samples[sample][1]
        return str(self.config["proteins"]) if kind == "contigs" else kind

    def _tokens(self, sample: str, encoder: str = PROTEINS) -> float:
        """Return the estimated tokens of a sample, known before the run starts."""
        kind = "nucleotides" if encoder == NUCLEOTIDES else self.proteins(sample)
        if sample == TRAINING:
            assert self.training  # noqa: S101 (for the type checker)
            return guess_tokens(self.training.groups * self.config["training_bases"], False, kind)
        fasta = self.samples[sample][0]
        return guess_tokens(self.outside.size(fasta), self.outside.is_compressed(fasta), kind)

    def shards(self, sample: str, encoder: str = PROTEINS) -> list[str]:
        """Return the names of a sample's shards, known before the run starts."""
        count = shards_of_tokens(self.tokens(sample, encoder), self.config["shard_tokens"])
        return [f"{number:04d}" for number in range(1, count + 1)]

    def options(self, stage: str, sample: str = "", encoder: str = PROTEINS) -> str:
        """Return the options of a stage's command that change its result."""
        config = self.config
        if stage == "fetch_model":
            return "--for-nucleotides" if encoder == NUCLEOTIDES else _spell(layers=config["layers"])
        if stage == "token_budget":
            # On a CPU auto is float32, so that both spellings give the same key.
            is_plain = config["precision"] == "auto" and self.device == "cpu"
            precision = "float32" if is_plain else config["precision"]
            return _spell(precision=precision, token_budget=config["token_budget"])
        if stage == "prepare":
            return _spell(**self._prepare_settings(sample))
        if stage == "pack":
            shards = len(self.shards(sample, encoder))
            if encoder == NUCLEOTIDES:
                return _spell(shards=shards)
            chosen = {name: config[name] for name in ("layers", "max_sequence_length", "long_proteins")}
            return _spell(**chosen, shards=shards)
        if stage == "embed":
            return "--per-residue" if config["per_residue"] and encoder == PROTEINS else ""
        if stage == "call":
            max_fdr = config.get("max_fdr", SENSITIVITIES[config["sensitivity"]])
            return _spell(prior=config["prior"], max_fdr=max_fdr, min_length=config["min_length"])
        if stage == "fragment":
            return _spell(bases=config["training_bases"], seed=config["seed"])
        if stage == "train":
            return _spell(seed=config["seed"]) + (" --nucleotides" if NUCLEOTIDES in self.models else "")
        return ""

    def files(self, stage: str, sample: str = "", encoder: str = PROTEINS) -> str:
        """Return the names and digests of the files from outside the run that a stage reads.

        Paths are not included, so that a file may be moved.
        """
        if stage == "fetch_model":
            model = self.models[encoder]
            checkpoint = local_checkpoint(model)
            if not checkpoint:
                return f"model {model}"
            text = f"model {model_name(model)} {self._digest(checkpoint)}"
            return f"{text} {self._digest(checkpoint.with_name(TOKENIZER))}" if encoder == NUCLEOTIDES else text
        if stage == "token_budget":
            return f"device {self.device}"
        named: dict[str, Path | None] = {}
        if stage == "prepare" and sample != TRAINING:
            fasta, kind = self.samples[sample]
            table = flye_table(fasta) if kind == "contigs" else None
            named = {"FASTA": fasta, "circles": table, "genes": self.genes.get(sample), "screen": self.screen(sample)}
        if stage == "call":
            named = {"heads": self.heads}
            if not self.calls_by_training:
                named |= {"classifier": self.classifier, "metrics": self.classifier.with_name("metrics.json")}
        if stage == "references":
            return f"references SHA-256 {_digest_of([self._digest(path) for path in self.references])}"
        if stage == "fragment" and self.training:
            digests = [self._digest(path) for path in (self.training.sheet, *self.training.fastas)]
            return f"training data {_digest_of(digests)}"
        return ", ".join(f"{name} {self._digest(path)}" for name, path in named.items() if path)

    def screen(self, sample: str) -> Path | None:
        """Return the screen of the classifier, or None if all proteins of a sample are embedded."""
        is_screened = self.config["screen"] == "auto" and not self.config["per_residue"] and not self.calls_by_training
        if not is_screened or sample not in self.called or self.proteins(sample) == "frames":
            return None
        path = screen_beside(self.classifier)
        return None if self.outside.sha256(path) == "missing" else path

    def final(self, sample: str) -> str:
        """Return the last stage of a sample."""
        return "call" if self.config["call"] and self.samples[sample][1] != "proteins" else "merge"

    @property
    def work(self) -> Path:
        """Folder of files that only the workflow reads."""
        return Path(self.config["outdir"], "work")

    @cached_property
    def call_files(self) -> list[str]:
        """Names of the files that call writes for a sample."""
        return [*CALL_FILES, *(PREDICTION_FILES if self._is_published else ())]

    def called_before(self) -> list[str]:
        """Return the samples with calls of an earlier run that are not called in this one."""
        samples = () if self.config["call"] else self.samples
        return [name for name in samples if (self.work / name / "call.json").exists()]

    def results(self, start: Path = Path()) -> dict[str, list[Path]]:
        """Return the paths that a run writes, in named groups.

        Args:
            start: Working folder of Snakemake; names do not change when it is moved with the results.
        """
        outdir = Path(self.config["outdir"])
        name = os.path.relpath(outdir, start)
        found = {name: [*(outdir / name for name in RUN_FILES), self.work / "model.json"]}
        for sample in self.samples:
            merged, called = self.results_of(sample)
            found[f"{name}/{sample} {' '.join(self.models)}"] = [*merged, self.work / sample]
            if called:
                found[f"{name}/{sample} call"] = called
        if self.training:
            found[f"{name}/{TRAINING}"] = [outdir / TRAINING, self.work / TRAINING]
        return found

    def results_of(self, sample: str) -> tuple[list[Path], list[Path]]:
        """Return the paths of a sample's embeddings, and of its calls if it has any."""
        folder = Path(self.config["outdir"], sample)
        names = self.call_files if self.final(sample) == "call" else []
        return [folder / f"embeddings{encoder}.h5" for encoder in self.models], [folder / name for name in names]

    def _key(self, stage: str, sample: str = "", encoder: str = PROTEINS) -> str:
        """Return the key of a job: a digest of everything that changes its result."""
        place = (stage, sample, encoder)
        options = [self.options(*place)]
        if stage == "prepare":
            options += [self.options("pack", sample, name) for name in self.models]
        before = [self.key(*job) for job in self._before(*place)]
        return _digest_of([VERSIONS[stage], options, self.files(*place), before])

    def _before(self, stage: str, sample: str, encoder: str) -> list[tuple[str, str, str]]:
        """Return the jobs whose results a job reads."""
        if stage == "token_budget":
            return [("fetch_model", "", encoder)]
        if stage == "prepare":
            fragment = [("fragment", TRAINING, PROTEINS)] if sample == TRAINING else []
            return [*fragment, *(("token_budget", "", name) for name in self.models)]
        if stage == "embed":
            return [("prepare", sample, PROTEINS)]
        if stage == "merge":
            return [("embed", sample, encoder)]
        if stage in ("call", "train"):
            merged = [("merge", sample, name) for name in self.models]
            trained = [("train", TRAINING, PROTEINS)] if stage == "call" and self.calls_by_training else []
            references = [("references", "", PROTEINS)] if stage == "call" and self.references else []
            return [*merged, *trained, *references]
        if stage == "summary":
            return [(self.final(name), name, PROTEINS) for name in self.samples]
        return [("summary", "", PROTEINS)] if stage == "report" else []

    def _prepare_settings(self, sample: str) -> dict[str, Any]:
        proteins = self.proteins(sample)
        if proteins in ("proteins", "prodigal"):
            return {"type": proteins, "proteins": self.config["proteins"]}
        chosen = {name: self.config[name] for name in ("chunk_size", "short_chunks", "genetic_codes")}
        chosen["orientation"] = self._orientation
        return {"type": "contigs", "proteins": proteins} | (chosen if proteins == "frames" else {})

    @cached_property
    def _orientation(self) -> str:
        """Orientation of chunks: with our classifiers calls must not depend on a contig's strand."""
        return "canonical" if self.config["call"] and not self._is_published else "given"

    @cached_property
    def _is_published(self) -> bool:
        return bool(self.config["call"]) and read_requirements(self.classifier).is_published

    @cached_property
    def calls_by_training(self) -> bool:
        """Whether this run trains its classifier."""
        trained = Path(self.config["outdir"], TRAINING, "classifier", "classifier.safetensors")
        return self.training is not None and self.classifier.absolute() == trained.absolute()

    def _digest(self, path: Path) -> str:
        return f"SHA-256 {self.outside.sha256(path)[:16]}"


def plan_run(config: dict[str, Any], memory: Path) -> Plan:
    """Check a configuration and all files that it names, and return the plan of the run.

    Args:
        config: Configuration; defaults are added to it.
        memory: Folder for digests of files and decisions of earlier runs.

    Raises:
        UserError: Something is wrong with the configuration, a table, or a file.
    """
    check_config(config)
    outside = OutsideFiles(memory / "digests.json")

    def look_at(path: Path, kind: str) -> None:
        outside.look_at(path, lambda: check_beginning(path, kind))
        if kind == "contigs" and (table := flye_table(path)):
            outside.look_at(table)

    def require(path: Path, kind: str) -> None:
        look_at(path, kind)
        if outside.sha256(path) == "missing":
            check_beginning(path, kind)  # raises the error

    samples, genes, training = {}, {}, None
    if "samples" in config:
        table = read_samples(Path(config["samples"]), look_at)
        samples = {row["sample"]: (Path(row["fasta"]), row["type"]) for row in table.to_dict("records")}
        for name, (path, kind) in samples.items() if config["call"] and config["proteins"] == "genes" else ():
            if kind == "proteins" and outside.content(path) == "prodigal":
                samples[name] = (path, "prodigal")
        genes = {str(name): Path(path) for name, path in table["genes"].items() if path}
        if genes and config["proteins"] != "genes":
            raise UserError(f"config: proteins is {config['proteins']}, but sample {min(genes)} has genes; remove one")
    if "training" in config:
        sheet = Path(config["training"])
        table = read_training(sheet, require)
        training = Training(sheet, [Path(path) for path in sorted(set(table["fasta"]))], table["group"].nunique())
        outside.look_at(sheet)
    references = find_references(Path(config["references"])) if "references" in config else {}
    for path, kind in references.items():
        if kind == "fasta":
            look_at(path, "contigs")
        else:
            outside.look_at(path)
    if "heads" in config:
        outside.look_at(Path(config["heads"]))
        if outside.sha256(Path(config["heads"])) == "missing":
            raise UserError(f"config: heads: {config['heads']}: no such file; give one of virnucpro train-names")
    classifier = DEFAULT if config["classifier"] == "default" else Path(config["classifier"])
    for path in (classifier, screen_beside(classifier), classifier.with_name("metrics.json")):
        outside.look_at(path)
    for model in filter(None, (config["model"], config.get("nucleotide_model"))):
        if checkpoint := local_checkpoint(model):
            outside.look_at(checkpoint)
            outside.look_at(checkpoint.with_name(TOKENIZER))
    outside.save()
    kinds = {kind for _, kind in samples.values()}
    settle_layers(config, classifier, kinds, lambda path: outside.sha256(path))
    device = settle_device(
        config["device"], Path(config["outdir"], "work", "token_budget.json"), memory / "devices.json"
    )
    return Plan(config, samples, classifier, outside, training, list(references), device, genes)


def _spell(**options: Any) -> str:
    """Return options for a command line: a list as several words, an empty list as nothing."""
    words: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)] if values else []
    return shlex.join(words)


def _digest_of(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
