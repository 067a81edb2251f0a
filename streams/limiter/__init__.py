"""The limiter: every command of `wa.commands` is admitted, held or ended here, and never forgotten.

`decide.py` is the decision, pure; `partition.py` carries a decision out on the state and turns it into records;
`processor.py` is the edge towards Kafka.
"""
