"""The stages of a run as steps whose freshness can be told: which files each reads, and what decides what it writes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from virnucpro.calling.requirements import read_requirements
from virnucpro.data.description import NUCLEOTIDES, describe_embeddings, describe_nucleotides, packing_settings
from virnucpro.data.provenance import RECORDS, Provenance
from virnucpro.encoders.names import TOKENIZER, local_checkpoint, model_name
from virnucpro.errors import UserError
from virnucpro.run.freshness import Freshness, Made, Step, settings
from virnucpro.run.shards import TOKENS_PER_LETTER, count_shards, shards_of_tokens

# Of rules that run others beside the one they are named after; those of nucleotides where these are embedded.
STAGES = {"prepare": ("pack", "pack_nucleotides"), "merge": ("merge_nucleotides",)}


class Plan:
    """What a run consists of, and why which of its stages must run again.

    Args:
        config: the configuration, checked, its defaults filled in.
        samples: path and type (`contigs` or `proteins`) of each sample's file, by the samples' names.
        classifier: its file.
        training: path of the table of labelled files and the paths of these, where there is a training.
        training_groups: groups of organisms in it.
        asked_for: returns names of stages, and files of the run, that are to be made again whatever is there.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        samples: Mapping[str, tuple[Path, str]],
        classifier: Path,
        training: tuple[Path, Sequence[Path]] = (Path(), ()),
        training_groups: int = 0,
        asked_for: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.config = config
        self.samples = samples
        self.classifier = classifier
        self.training = training
        self.training_groups = training_groups
        self.outdir = Path(config["outdir"])
        self._trained = self.outdir / "training" / "classifier" / "classifier.safetensors"
        self._freshness = Freshness(asked_for)
        self._looked_at: dict[str, dict[str, Step]] = {}
        self._told: set[tuple[str, str]] = set()

    def shards(self, sample: str) -> list[str]:
        """Return the names of a sample's shards, known before anything has run."""
        return self._shards(sample, self.proteins(sample))

    def nucleotide_shards(self, sample: str) -> list[str]:
        """Return the names of the shards of the nucleotides of a sample's frames; none where these are not embedded."""
        return self._shards(sample, NUCLEOTIDES) if "nucleotide_model" in self.config else []

    def _shards(self, sample: str, kind: str) -> list[str]:
        shard_tokens = self.config["shard_tokens"]
        if sample == "training":
            tokens = self.training_groups * self.config["training_bases"] * TOKENS_PER_LETTER[kind]
            count = shards_of_tokens(tokens, shard_tokens)
        else:
            count = count_shards(self.samples[sample][0], kind, shard_tokens)
        return [f"{number:04d}" for number in range(1, count + 1)]

    def prepare_settings(self, sample: str) -> dict[str, Any]:
        """Return the settings of a sample's prepare."""
        proteins = self.proteins(sample)
        if proteins == "proteins":
            return {"type": "proteins"}
        chosen = {name: self.config[name] for name in ("chunk_size", "short_chunks", "genetic_codes")}
        chosen |= {"orientation": self.orientation}
        return {"type": "contigs", "proteins": proteins} | (chosen if proteins == "frames" else {})

    def proteins(self, sample: str) -> str:
        """Return what of a sample is embedded: `genes` or `frames` of contigs, or the `proteins` of its file."""
        is_contigs = sample == "training" or self.samples[sample][1] == "contigs"
        return str(self.config["proteins"]) if is_contigs else "proteins"

    @property
    def orientation(self) -> str:
        """From which end chunks are counted: calls must not depend on the strand that a contig was given in.

        Those of the original VirNucPro do.
        """
        return "canonical" if self.config["call"] and not self._is_published else "given"

    @cached_property
    def _is_published(self) -> bool:
        return self.classifier.exists() and read_requirements(self.classifier).is_published

    def must_run(self, rule: str, sample: str = "", shard: str = "") -> bool:
        """Return whether a rule must run although its outputs may be there.

        Args:
            rule: its name.
            sample: for the rules of a sample.
            shard: for embed.

        Raises:
            UserError: there is no such rule in this run.
        """
        return any(map(self._freshness.must_run, self._steps_of_rule(rule, sample, shard)))

    def reason(self, rule: str, sample: str = "", shard: str = "") -> str:
        """Return why a rule must run; an empty text where one before it must, or where it need not."""
        reasons = map(self._freshness.reason, self._steps_of_rule(rule, sample, shard))
        return next(filter(None, reasons), "")

    def keeps_proteins(self, sample: str) -> bool:
        """Return whether a sample is packed anew from proteins that are as they should be."""
        prepare, *packs = self._steps_of_rule("prepare", sample, "")
        return any(map(self._freshness.must_run, packs)) and not self._freshness.must_run(prepare)

    def _steps_of_rule(self, rule: str, sample: str, shard: str) -> list[Step]:
        stages = [rule, *STAGES.get(rule, ())]
        if "nucleotide_model" not in self.config:
            stages = [stage for stage in stages if not stage.endswith(f"_{NUCLEOTIDES}")]
        return [self._step(stage, sample, shard) for stage in stages]

    def _step(self, stage: str, sample: str, shard: str) -> Step:
        if stage in ("summary", "report"):
            return self._summary if stage == "summary" else self._report
        if stage in ("fragment", "train"):
            return self._steps("training")[stage]
        if not sample:
            names = ("fetch_model", "token_budget", "fetch_nucleotide_model", "nucleotide_token_budget")
            return dict(zip(names, (*self._model_steps, *self._nucleotide_model_steps), strict=False))[stage]
        if sample not in self.samples and sample != "training":
            raise UserError(f"no sample {sample} in the table of samples")
        steps = self._steps(sample)
        if shard and f"{stage}_{shard}" not in steps:
            raise UserError(f"sample {sample} has no shard {shard}, only {', '.join(self.shards(sample))}")
        if stage not in steps and not shard:
            raise UserError(f"sample {sample} is not called: call is false, or its type is proteins")
        return steps[f"{stage}_{shard}" if shard else stage]

    def found(self) -> Iterator[tuple[list[str], str]]:
        """Yield what was found to have to run since this was asked last.

        Yields:
            The files by which Snakemake knows it, and a line for people: none for what follows from another or runs for
            the first time, and each reason once.
        """
        for step, reason in self._freshness.found():
            line = ""
            if reason and self._freshness.record(step) and (step.name, reason) not in self._told:
                self._told.add((step.name, reason))
                line = f"{step.name} runs again, first for {step.records.parent}: {reason}"
            yield [str(file) for file in step.known_by], line

    def _steps(self, sample: str) -> dict[str, Step]:
        """Return the steps of a sample, or of the training, by their stages, having looked at them."""
        if sample not in self._looked_at:
            steps = self._training_steps() if sample == "training" else self._steps_of_sample(sample)
            self._freshness.add(steps.values())
            self._looked_at[sample] = steps
        return self._looked_at[sample]

    @cached_property
    def _model_steps(self) -> tuple[Step, Step]:
        return self._steps_of_model(self.config["model"], self.outdir)

    @cached_property
    def _nucleotide_model_steps(self) -> tuple[Step, ...]:
        if "nucleotide_model" not in self.config:
            return ()
        return self._steps_of_model(self.config["nucleotide_model"], self.outdir / NUCLEOTIDES, TOKENIZER)

    def _steps_of_model(self, model: str, folder: Path, tokenizer: str = "") -> tuple[Step, Step]:
        checkpoint = local_checkpoint(model)
        outside = {} if checkpoint is None else {"weights": checkpoint}
        if checkpoint and tokenizer:
            outside["tokenizer"] = checkpoint.with_name(tokenizer)
        records, card, budget_json = (folder / name for name in (RECORDS, "model.json", "token_budget.json"))
        name = settings({"model": model_name(model)})
        fetch = Step("fetch_model", records, [card], name, outside, is_result=True, is_exact=True)
        made = {"model": Made(card, fetch)}
        budget = Step(
            "token_budget", records, [budget_json], self._other_device, made=made, is_result=True, is_exact=True
        )
        self._freshness.add([fetch, budget])
        return fetch, budget

    def _other_device(self, record: Provenance) -> str:
        """Return which setting asks for a device, a precision or a budget that was not found."""
        for name in ("precision", "token_budget", "device"):
            asked, found, wanted = record.settings[name], record.details[name], self.config[name]
            if name == "device":
                found = "cpu" if found == "cpu" else "gpu"
            same = wanted in (asked, found) or (name == "device" and wanted == "auto" and found == "gpu")
            if not same:
                return f"{name} was {asked}, is {wanted}"
        return ""

    def _packing(self, sample: str, of_nucleotides: bool = False) -> dict[str, Any] | None:
        """Return the settings of a sample's pack, or None while the model or the token budget is not known."""
        fetch, budget = self._nucleotide_model_steps if of_nucleotides else self._model_steps
        model, probed = self._freshness.record(fetch), self._freshness.record(budget)
        if model is None or self._freshness.is_stale(fetch):
            return None
        found: dict[str, Any] = {name: self.config[name] for name in ("precision", "token_budget")}
        if probed is not None and not self._freshness.is_stale(budget):
            found = {name: probed.details[name] for name in found}
        if "auto" in found.values():
            return None
        device: Any = found | {"model": model.details}
        if of_nucleotides:
            described = describe_nucleotides(device, self.prepare_settings(sample))
            return packing_settings(described, found["token_budget"], len(self.nucleotide_shards(sample)))
        chosen = (self.config[name] for name in ("layers", "max_sequence_length", "long_proteins"))
        try:
            description = describe_embeddings(device, self.prepare_settings(sample), *chosen)
        except UserError:  # no such layer, which fetch_model will say
            return None
        return packing_settings(description, found["token_budget"], len(self.shards(sample)))

    def _steps_of_sample(self, sample: str) -> dict[str, Step]:
        fasta, kind = self.samples[sample]
        return self._sample_steps(sample, fasta, bool(self.config["call"]) and kind == "contigs")

    def _sample_steps(self, sample: str, fasta: Path | Made, called: bool) -> dict[str, Step]:
        folder = self.outdir / sample
        records, packed = folder / RECORDS, [folder / "duplicates.tsv"]
        source: dict[str, Any] = (
            {"made": {"fasta": fasta}} if isinstance(fasta, Made) else {"outside": {"fasta": fasta}}
        )
        wanted = settings(self.prepare_settings(sample))
        prepare = Step("prepare", records, packed, wanted, **source, is_exact=True)
        residues, proteins = (Made(folder / "prepared" / name, prepare) for name in ("proteins.faa", "proteins.tsv"))
        read = {"proteins.tsv": proteins, "proteins.faa": residues}
        steps = {"prepare": prepare} | self._embedding_steps(sample, residues, proteins)
        embedded = {"embeddings.h5": Made(folder / "embeddings.h5", steps["merge"])}
        if "nucleotide_model" in self.config:
            letters = Made(folder / "prepared" / "nucleotides.fna", prepare)
            of_nucleotides = self._embedding_steps(sample, letters, proteins, of_nucleotides=True)
            merge = of_nucleotides["merge"]
            steps |= {_of_nucleotides(stage): step for stage, step in of_nucleotides.items()}
            embedded[f"{NUCLEOTIDES}/embeddings.h5"] = Made(folder / NUCLEOTIDES / "embeddings.h5", merge)
        if called:
            listed = Made(folder / "prepared" / "records.tsv", prepare)
            read = read | {"records.tsv": listed} | embedded
            outside = dict(source.get("outside", {}))
            if self.training[1] and self.classifier == self._trained:
                read["classifier"] = Made(self.classifier, self._steps("training")["train"])
            else:
                outside["classifier"] = self.classifier
            wanted = settings({name: self.config[name] for name in ("prior", "min_length", "chunk_scores")})
            contigs = [folder / "contigs.tsv"]
            steps["call"] = Step("call", records, contigs, wanted, outside, read, is_result=True)
        return steps

    def _embedding_steps(
        self, sample: str, letters: Made, proteins: Made, of_nucleotides: bool = False
    ) -> dict[str, Step]:
        """Return pack, an embed for each shard, and merge, of a sample's proteins or of its frames' nucleotides."""
        folder = letters.path.parent.parent / (NUCLEOTIDES if of_nucleotides else "")
        records, duplicates = folder / RECORDS, folder / "duplicates.tsv"
        wanted = settings(self._packing(sample, of_nucleotides))
        read = {"proteins.tsv": proteins, letters.path.name: letters}
        pack = Step("pack", records, [duplicates], wanted, made=read, is_exact=True)
        steps = {"pack": pack}
        merged = {"proteins.tsv": proteins, "duplicates.tsv": Made(duplicates, pack)}
        per_residue = settings({"per_residue": self.config["per_residue"] and not of_nucleotides})
        for shard in self.nucleotide_shards(sample) if of_nucleotides else self.shards(sample):
            manifest = Made(folder / "manifests" / f"{shard}.json", pack)
            output = folder / "shards" / f"{shard}.h5"
            record = output.with_suffix(".json")
            # A manifest holds the digests of the letters that its shard needs.
            embed = Step("embed", record, [output], per_residue, made={"manifest": manifest}, vouched_for=[letters])
            steps[f"embed_{shard}"] = embed
            merged[f"{shard}.h5"] = Made(output, embed)
        embeddings = [folder / "embeddings.h5"]
        return steps | {"merge": Step("merge", records, embeddings, settings({}), made=merged, is_result=True)}

    @cached_property
    def _summary(self) -> Step:
        read, called = {}, []
        for sample in self.samples:
            steps = self._steps(sample)
            folder = self.outdir / sample
            read[f"{sample}/records.tsv"] = Made(folder / "prepared" / "records.tsv", steps["prepare"])
            for shard in self.shards(sample):
                manifest = f"manifests/{shard}.json"
                read[f"{sample}/{manifest}"] = Made(folder / manifest, steps["pack"])
            read[f"{sample}/embeddings.h5"] = Made(folder / "embeddings.h5", steps["merge"])
            if "call" in steps:
                called.append(sample)
                read[f"{sample}/contigs.tsv"] = Made(folder / "contigs.tsv", steps["call"])
        table = self.outdir / "summary.tsv"
        wanted = settings({"samples": list(self.samples), "called": called})
        step = Step("summary", self.outdir / RECORDS, [table], wanted, made=read, is_result=True)
        self._freshness.add([step])
        return step

    @cached_property
    def _report(self) -> Step:
        summary = self._summary
        read = {name: Made(self.outdir / name, summary) for name in ("summary.tsv", "left_out.tsv", "packing.svg")}
        outside, called = {}, []
        for sample, (fasta, _) in self.samples.items():
            steps = self._steps(sample)
            if "call" in steps:
                called.append(sample)
                outside[f"{sample}/fasta"] = fasta
                for name in ("contigs.tsv", "genes.tsv", "genes.gff3", "regions.tsv", "regions.gff3"):
                    read[f"{sample}/{name}"] = Made(self.outdir / sample / name, steps["call"])
                read[f"{sample}/embeddings.h5"] = Made(self.outdir / sample / "embeddings.h5", steps["merge"])
        wanted = settings({"samples": called})
        page = self.outdir / "report.html"
        step = Step("report", self.outdir / RECORDS, [page], wanted, outside, read, is_result=True)
        self._freshness.add([step])
        return step

    def _training_steps(self) -> dict[str, Step]:
        sheet, files = self.training
        folder = self.outdir / "training"
        outside = {"sheet": sheet} | {str(file): Path(file) for file in files}
        wanted = settings({"bases": self.config["training_bases"], "seed": self.config["seed"]})
        fragments = folder / "fragments.fna.gz"
        fragment = Step("fragment", folder / RECORDS, [fragments], wanted, outside, is_exact=True)
        fasta = Made(fragments, fragment)
        steps = {"fragment": fragment} | self._sample_steps("training", fasta, False)
        read = {
            "fragments.fna.gz": fasta,
            "fragments.tsv": Made(folder / "fragments.tsv", fragment),
            **{name: Made(folder / "prepared" / name, steps["prepare"]) for name in ("proteins.tsv", "proteins.faa")},
            "embeddings.h5": Made(folder / "embeddings.h5", steps["merge"]),
        }
        if "nucleotide_model" in self.config:
            of_nucleotides = Made(folder / NUCLEOTIDES / "embeddings.h5", steps[f"merge_{NUCLEOTIDES}"])
            read[f"{NUCLEOTIDES}/embeddings.h5"] = of_nucleotides
        records = self._trained.with_name(RECORDS)
        wanted = settings({"seed": self.config["seed"]})
        steps["train"] = Step("train", records, [self._trained], wanted, {"sheet": sheet}, read, is_result=True)
        return steps


def _of_nucleotides(stage: str) -> str:
    """Return what a stage is called where it is that of nucleotides: embed_nucleotides_0001 for embed_0001."""
    name, _, shard = stage.partition("_")
    return f"{name}_{NUCLEOTIDES}" + (f"_{shard}" if shard else "")
