"""report: one page for people, with all contigs of a run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from virnucpro.data.files import write_text
from virnucpro.data.provenance import begin_writing, checked_input, write_provenance
from virnucpro.report.content import page_of_run

logger = logging.getLogger(__name__)

OF_RUN = ("summary.tsv", "left_out.tsv", "packing.svg")
OF_SAMPLE = ("contigs.tsv", "genes.tsv", "genes.gff3", "regions.tsv", "regions.gff3")


def report(
    output_dir: Path,
    samples: Sequence[str],
    fastas: Sequence[Path],
    earlier: Sequence[str] = (),
    failed: Path | None = None,
) -> None:
    """Write report.html, a page with the calls of samples, into the folder of a run.

    Args:
        output_dir: Folder of the run, with the files of summary and call.
        samples: Samples with calls.
        fastas: Contigs of the samples, then of the earlier samples.
        earlier: Samples with calls of an earlier run.
        failed: Table of failed samples; with it no record is written, so that the workflow writes the page again.

    Raises:
        UserError: A file is not as an earlier stage wrote it.
    """
    output, work = output_dir / "report.html", output_dir / "work"
    record, inputs = work / "report.json", {}
    if not failed:
        names = (*OF_RUN, "viral.fasta.gz") if samples else OF_RUN
        inputs = {name: checked_input(output_dir / name, work / "summary.json", "summary") for name in names}
    all_samples = [*samples, *earlier]
    for sample in all_samples:
        for name in OF_SAMPLE:
            path = output_dir / sample / name
            inputs[f"{sample}/{name}"] = checked_input(path, work / sample / "call.json", "call")
    begin_writing(record, [output])
    write_text(output, page_of_run(output_dir, dict(zip(all_samples, fastas, strict=True)), earlier, failed))
    if not failed:
        write_provenance(record, "report", {"samples": list(samples), "earlier": list(earlier)}, inputs, [output])
    logger.info("report: %s", output)
