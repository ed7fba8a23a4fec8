process VIRNUCPRO_RUN {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/virnucpro:0.1.0--pyhdfd78af_0':
        'quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0' }"

    input:
    tuple val(meta), path(fasta)
    path model

    output:
    tuple val(meta), path("${prefix}.contigs.tsv")    , emit: contigs
    tuple val(meta), path("${prefix}.viral.tsv")      , emit: viral
    tuple val(meta), path("${prefix}.viral.fasta.gz") , emit: fasta
    tuple val(meta), path("${prefix}.report.html")    , emit: report
    tuple val("${task.process}"), val('virnucpro'), eval("virnucpro --version | sed 's/virnucpro //'"), topic: versions, emit: versions_virnucpro

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def checkpoint = model ? "--model $model" : ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    # HOME cannot be written in some containers
    export XDG_CACHE_HOME="\${XDG_CACHE_HOME:-\$PWD/.cache}"

    printf 'sample\\tfasta\\n%s\\t%s\\n' '$prefix' '$fasta' > samples.tsv

    virnucpro run \\
        --samples samples.tsv \\
        --outdir results \\
        --cores $task.cpus \\
        $checkpoint \\
        $args

    mv results/$prefix/contigs.tsv ${prefix}.contigs.tsv
    mv results/viral.tsv ${prefix}.viral.tsv
    mv results/viral.fasta.gz ${prefix}.viral.fasta.gz
    mv results/report.html ${prefix}.report.html
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.contigs.tsv ${prefix}.viral.tsv ${prefix}.report.html
    echo "" | gzip > ${prefix}.viral.fasta.gz
    """
}
