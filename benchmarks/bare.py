"""The yardstick, in a process of its own: aiokafka's getmany, decode, send, commit. No guarantee at all."""

from __future__ import annotations

import asyncio
import os
import sys

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.stopwatch import Stopwatch


async def main(count: int) -> None:
    """Answer ``count`` tickets and print the figures."""
    servers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    consumer = AIOKafkaConsumer(
        os.environ["KAFKA_TICKETS_TOPIC"],
        bootstrap_servers=servers,
        group_id=os.environ["KAFKA_CONSUMER_GROUP_ID"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=500_000)
    await consumer.start()
    await producer.start()
    results, watch, done = os.environ["KAFKA_RESULTS_TOPIC"], Stopwatch(), 0
    while done < count:
        sent = []
        for records in (await consumer.getmany(timeout_ms=200, max_records=1_000)).values():
            watch.begin()
            for record in records:
                ticket = orjson.loads(record.value)
                answer = orjson.dumps({"ticket_id": ticket["ticket_id"], "status": "COMPLETED"})
                sent.append(await producer.send(results, answer, ticket["ticket_id"].encode()))
        await asyncio.gather(*sent)
        await consumer.commit()
        done += len(sent)
    watch.end(done)
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
