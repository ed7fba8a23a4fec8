"""The stages of a run as steps whose freshness can be told: which files each reads, and what decides what it writes."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from virnucpro.data.description import describe_embeddings, packing_settings
from virnucpro.data.provenance import Provenance
from virnucpro.encoders.names import local_checkpoint, model_name
from virnucpro.errors import UserError
from virnucpro.run.freshness import Freshness, Made, Step, settings
from virnucpro.run.shards import TOKENS_PER_LETTER, count_shards, shards_of_tokens


class Plan:
    """What a run consists of, and why which of its stages must run again.

    Args:
        config: the configuration, checked, its defaults filled in.
        samples: path and type (`contigs` or `proteins`) of each sample's file, by the samples' names.
        classifier: its file.
        training: path of the table of labelled files and the paths of these, where there is a training.
        training_groups: groups of organisms in it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        samples: Mapping[str, tuple[Path, str]],
        classifier: Path,
        training: tuple[Path, Sequence[Path]] = (Path(), ()),
        training_groups: int = 0,
    ) -> None:
        self.config = config
        self.samples = samples
        self.classifier = classifier
        self.training = training
        self.training_groups = training_groups
        self.outdir = Path(config["outdir"])
        self._freshness = Freshness()
        self._looked_at: dict[str, dict[str, Step]] = {}
        self._told: set[tuple[str, str]] = set()

    def shards(self, sample: str) -> list[str]:
        """Return the names of a sample's shards, known before anything has run."""
        shard_tokens = self.config["shard_tokens"]
        if sample == "training":
            tokens = self.training_groups * self.config["training_bases"] * TOKENS_PER_LETTER["contigs"]
            count = shards_of_tokens(tokens, shard_tokens)
        else:
            count = count_shards(*self.samples[sample], shard_tokens)
        return [f"{number:04d}" for number in range(1, count + 1)]

    def prepare_settings(self, sample: str) -> dict[str, Any]:
        """Return the settings of a sample's prepare."""
        if sample != "training" and self.samples[sample][1] == "proteins":
            return {"type": "proteins"}
        chosen = {name: self.config[name] for name in ("chunk_size", "short_chunks", "genetic_codes")}
        return {"type": "contigs", "orientation": self.orientation} | chosen

    @property
    def orientation(self) -> str:
        """From which end chunks are counted: calls must not depend on the strand that a contig was given in."""
        return "canonical" if self.config["call"] else "given"

    def must_run(self, stage: str, sample: str = "", shard: str = "") -> bool:
        """Return whether a stage must run although its outputs may be there.

        Args:
            stage: its name.
            sample: for the stages of a sample.
            shard: for embed.
        """
        return self._freshness.must_run(self._step(stage, sample, shard))

    def reason(self, stage: str, sample: str = "", shard: str = "") -> str:
        """Return why a stage must run; an empty text where one before it must, or where it need not."""
        return self._freshness.reason(self._step(stage, sample, shard))

    def new_reasons(self) -> dict[str, str]:
        """Return why stages must run, by the paths of their records, as far as that was not returned before.

        The text is empty where the reason is known: a stage before it must run, it has never run, or the same holds
        for another sample that was returned before.
        """
        new = {}
        for step, reason in self._freshness.new_reasons().items():
            known = (step.name, reason) in self._told or not step.record.exists()
            new[str(step.record)] = "" if known else reason
            self._told.add((step.name, reason))
        return new

    def _step(self, stage: str, sample: str, shard: str) -> Step:
        if stage == "summary":
            return self._summary
        if stage in ("fragment", "train"):
            return self._steps("training")[stage]
        if sample:
            return self._steps(sample)[f"embed_{shard}" if shard else stage]
        return dict(zip(("fetch_model", "token_budget"), self._model_steps, strict=True))[stage]

    def _steps(self, sample: str) -> dict[str, Step]:
        """Return the steps of a sample, or of the training, by their stages, having looked at them."""
        if sample not in self._looked_at:
            steps = self._training_steps() if sample == "training" else self._steps_of_sample(sample)
            self._freshness.add(steps.values())
            self._looked_at[sample] = steps
        return self._looked_at[sample]

    @cached_property
    def _model_steps(self) -> tuple[Step, Step]:
        checkpoint = local_checkpoint(self.config["model"])
        outside = {} if checkpoint is None else {"weights": checkpoint}
        record = self.outdir / "model.provenance.json"
        name = settings({"model": model_name(self.config["model"])})
        fetch = Step("fetch_model", record, name, outside, is_result=True, is_exact=True)
        model = {"model": Made(self.outdir / "model.json", fetch)}
        record = self.outdir / "token_budget.provenance.json"
        budget = Step("token_budget", record, self._other_device, made=model, is_result=True, is_exact=True)
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

    def _packing(self, sample: str) -> dict[str, Any] | None:
        """Return the settings of a sample's pack, or None while the model or the token budget is not known."""
        fetch, budget = self._model_steps
        model, probed = self._freshness.record(fetch), self._freshness.record(budget)
        if model is None or self._freshness.is_stale(fetch):
            return None
        found: dict[str, Any] = {name: self.config[name] for name in ("precision", "token_budget")}
        if probed is not None and not self._freshness.is_stale(budget):
            found = {name: probed.details[name] for name in found}
        if "auto" in found.values():
            return None
        device: Any = found | {"model": model.details}
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
        source: dict[str, Any] = (
            {"made": {"fasta": fasta}} if isinstance(fasta, Made) else {"outside": {"fasta": fasta}}
        )
        wanted = settings(self.prepare_settings(sample))
        prepare = Step("prepare", folder / "prepared" / "provenance.json", wanted, **source, is_exact=True)
        residues, proteins = (Made(folder / "prepared" / name, prepare) for name in ("proteins.faa", "proteins.tsv"))
        read = {"proteins.tsv": proteins, "proteins.faa": residues}
        wanted = settings(self._packing(sample))
        pack = Step("pack", folder / "manifests.provenance.json", wanted, made=read, is_exact=True)
        steps = {"prepare": prepare, "pack": pack}
        merged = {"proteins.tsv": proteins, "duplicates.tsv": Made(folder / "duplicates.tsv", pack)}
        per_residue = settings({"per_residue": self.config["per_residue"]})
        for shard in self.shards(sample):
            manifest = Made(folder / "manifests" / f"{shard}.json", pack)
            embed = Step("embed", folder / "shards" / f"{shard}.json", per_residue, made={"manifest": manifest})
            steps[f"embed_{shard}"] = embed
            merged[f"{shard}.h5"] = Made(folder / "shards" / f"{shard}.h5", embed)
        record = folder / "embeddings.provenance.json"
        merge = steps["merge"] = Step("merge", record, settings({}), made=merged, is_result=True)
        if called:
            read = {"proteins.tsv": proteins, "embeddings.h5": Made(folder / "embeddings.h5", merge)}
            outside = {"classifier": self.classifier} | source.get("outside", {})
            record = folder / "contigs.provenance.json"
            steps["call"] = Step("call", record, settings({}), outside, read, is_result=True)
        return steps

    @cached_property
    def _summary(self) -> Step:
        read, called = {}, []
        for sample in self.samples:
            steps = self._steps(sample)
            folder = self.outdir / sample
            read[f"{sample}/records.tsv"] = Made(folder / "prepared" / "records.tsv", steps["prepare"])
            read[f"{sample}/embeddings.h5"] = Made(folder / "embeddings.h5", steps["merge"])
            if "call" in steps:
                called.append(sample)
                read[f"{sample}/contigs.tsv"] = Made(folder / "contigs.tsv", steps["call"])
        record = self.outdir / "summary.provenance.json"
        wanted = settings({"samples": list(self.samples), "called": called})
        step = Step("summary", record, wanted, made=read, is_result=True)
        self._freshness.add([step])
        return step

    def _training_steps(self) -> dict[str, Step]:
        sheet, files = self.training
        folder = self.outdir / "training"
        outside = {"sheet": sheet} | {str(file): Path(file) for file in files}
        wanted = settings({"bases": self.config["training_bases"], "seed": self.config["seed"]})
        fragment = Step("fragment", folder / "fragments.provenance.json", wanted, outside)
        fasta = Made(folder / "fragments.fna.gz", fragment)
        steps = {"fragment": fragment} | self._sample_steps("training", fasta, False)
        read = {
            "fragments.fna.gz": fasta,
            "fragments.tsv": Made(folder / "fragments.tsv", fragment),
            "proteins.tsv": Made(folder / "prepared" / "proteins.tsv", steps["prepare"]),
            "embeddings.h5": Made(folder / "embeddings.h5", steps["merge"]),
        }
        record = folder / "classifier" / "provenance.json"
        wanted = settings({"seed": self.config["seed"]})
        steps["train"] = Step("train", record, wanted, {"sheet": sheet}, read, is_result=True)
        return steps
