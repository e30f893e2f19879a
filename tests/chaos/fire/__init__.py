"""The promise under fire: worker processes on real Kafka, faults at random times, and a checker of what came of it.

Read it in this order: ``driver`` (one run from its seed to its report), ``faults`` (what is done to whom),
``load`` (the tickets), ``world`` (what runs), ``witness`` (what was seen), ``checker`` (what must hold).
"""
