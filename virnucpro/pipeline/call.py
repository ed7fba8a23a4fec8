"""call: which contigs are viral, from the embeddings of their frames."""

import gzip
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.calling import CALL_FILES
from virnucpro.calling.classifier import Classifier, Floats, contig_inputs, frame_inputs, load_classifier, probability
from virnucpro.calling.evidence import describe_groups, evidence_of_contigs
from virnucpro.calling.features import contig_features
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.files import atomic_path
from virnucpro.data.provenance import (
    FileState,
    begin_writing,
    checked_input,
    file_state,
    read_provenance,
    write_provenance,
)
from virnucpro.data.records import Record, read_contigs
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

BLOCK = 10_000  # frames scored at once
LINE = 60

_CONTIGS_HEAD = "contig\tlength\tcall\tscore\tlog_odds\tchunks\tframes\tgenetic_code\treason\n"


def call(fasta: Path, folder: Path, classifier: Path) -> None:
    """Call the contigs of a sample.

    Writes into the sample's folder: contigs.tsv, a row a contig in input order; frames.tsv, a row a frame;
    viral.fasta.gz, the contigs called viral; contigs.provenance.json.

    Args:
        fasta: the contigs.
        folder: the sample's, with what prepare and merge wrote.
        classifier: its file.

    Raises:
        UserError: the classifier was trained for other embeddings, or the files do not belong together.
    """
    *outputs, record = (folder / name for name in CALL_FILES)
    prepared = folder / "prepared" / "provenance.json"
    embeddings = EmbeddingFile(folder / "embeddings.h5")
    inputs = {
        "fasta": _checked_fasta(fasta, prepared),
        "proteins.tsv": checked_input(prepared.with_name("proteins.tsv"), prepared),
        "embeddings.h5": checked_input(embeddings.path, folder / "embeddings.provenance.json"),
        "classifier": file_state(classifier),
    }
    judge = load_classifier(classifier)
    embeddings.description.check_trained_for(judge.requirements.embedding, str(embeddings.path))
    frames = describe_groups(read_proteins(prepared.parent))
    log_odds_of_frames = _score_frames(judge, frames, embeddings)
    table_of_evidence = evidence_of_contigs(frames, log_odds_of_frames)
    evidence = {str(name): known for name, known in table_of_evidence.to_dict("index").items()}
    experts = len(judge.hidden_weight)
    nothing = {"total": [0.0] * experts, "counted": 0, "frames": 0, "chunks": 0, "residues": 0, "genetic_code": 1}
    calls: Counter[str] = Counter()
    begin_writing(record, outputs)
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(path)) for path in outputs]
        _write_frames(frames, log_odds_of_frames[:, 0], paths[1])
        table = stack.enter_context(paths[0].open("w"))
        table.write(_CONTIGS_HEAD)
        packed = stack.enter_context(paths[2].open("wb"))
        # Without a name and a time in its header: the same calls are the same bytes.
        viral = stack.enter_context(gzip.GzipFile("", "wb", fileobj=packed, mtime=0))
        for contig in read_contigs(fasta):
            name = contig.name.decode()
            known: Mapping[Any, Any] = evidence.get(name, nothing)
            log_odds = _log_odds(judge, contig.letters, known)
            called, reason = judge.decide(log_odds, known["residues"], len(contig.letters))
            calls[called] += 1
            score = f"{probability(log_odds):.4f}" if contig.letters else ""
            row = (name, len(contig.letters), called, score, f"{log_odds:.3f}" if contig.letters else "")
            counts = (known[column] for column in ("chunks", "frames", "genetic_code"))
            table.write("\t".join(map(str, (*row, *counts, reason))) + "\n")
            if called == "viral":
                viral.writelines(_fasta(contig, score))
    write_provenance(record, "call", {}, inputs, outputs)
    logger.info(
        "call: %s: %d contigs viral, %d cellular, %d unresolved",
        *(folder.name, calls["viral"], calls["cellular"], calls["unresolved"]),
    )


def _checked_fasta(fasta: Path, prepared: Path) -> FileState:
    state, source = file_state(fasta), read_provenance(prepared).inputs["fasta"]
    if state.sha256 != source.sha256:
        raise UserError(f"{fasta}: not the file that {prepared.parent} was made from; run the prepare stage again")
    return state


def _score_frames(judge: Classifier, frames: pd.DataFrame, embeddings: EmbeddingFile) -> Floats:
    if embeddings.ids != frames["protein"].tolist():
        raise UserError(f"{embeddings.path}: not the embeddings of this sample's frames; run the merge stage again")
    of_blocks = (
        judge.frame_log_odds(frame_inputs(embeddings.rows(rows), frames.iloc[rows])) for rows in _blocks(frames)
    )
    return np.concatenate(list(of_blocks))


def _blocks(frames: pd.DataFrame) -> list[npt.NDArray[np.int64]]:
    """Return the rows of whole contigs, some 10,000 at a time."""
    starts = np.flatnonzero(frames["contig"] != frames["contig"].shift())
    cuts = starts[1:][np.diff(starts // BLOCK) > 0]
    return np.split(np.arange(len(frames)), cuts)


def _write_frames(frames: pd.DataFrame, log_odds: Floats, path: Path) -> None:
    columns = ["protein", "contig", "start", "end", "strand", "genetic_code"]
    scored = frames[columns].assign(score=probability(log_odds).round(4), log_odds=log_odds.round(3))
    write_table(scored, path)


def _log_odds(judge: Classifier, letters: bytes, known: Mapping[Any, Any]) -> float:
    if not letters:
        return 0.0
    features = contig_features(letters, known["genetic_code"])
    inputs = contig_inputs(np.array([known["total"]]), [known["counted"]], features[None])
    return float(judge.contig_log_odds(inputs)[0])


def _fasta(contig: Record, score: str) -> Iterator[bytes]:
    yield b">%b score=%b\n" % (contig.name, score.encode())
    for begin in range(0, len(contig.letters), LINE):
        yield contig.letters[begin : begin + LINE] + b"\n"
