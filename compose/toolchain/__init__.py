"""What a bare machine lacks, fetched once and pinned: Python packages, Java, Go, Kafka's jars, the Go programs.

Every step is skipped when its inputs have not changed, and a machine that is set up needs no network.
"""
