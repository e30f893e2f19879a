# The worker's image. Built by `make image`; how to give it digests, mirrors and test toolchains: EXTERNAL_TOOLS_SETUP.md.
# Any Debian or Ubuntu with Python 3.11 or newer and its venv will do as the base.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm
ARG TRIVY_IMAGE=docker.io/aquasec/trivy:0.76.0

FROM ${TRIVY_IMAGE} AS trivy

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements-build.lock requirements-runtime.lock ./
# The secrets are for those who install from a mirror: pip.conf, and the certificate that it may name.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    python3 -m venv builder && \
    python3 -m venv --without-pip /opt/worker-agents && \
    builder/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement requirements-build.lock && \
    builder/bin/pip --python /opt/worker-agents/bin/python install --no-cache-dir --no-compile --no-deps \
        --only-binary :all: --require-hashes --requirement requirements-runtime.lock
COPY LICENSE README.md pyproject.toml ./
COPY worker_agents worker_agents
# Compiled here, as nobody may write there later. Bytecode that is checked against a file's time would be stale as soon as
# a builder sets all times to one, for builds that are the same byte for byte.
RUN builder/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . && \
    builder/bin/pip --python /opt/worker-agents/bin/python install --no-index --no-compile --no-deps \
        --find-links dist worker-agents && \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/worker-agents/lib
COPY container/healthcheck.py /opt/worker-agents/
# A label that names another version than the program itself would be a lie.
ARG VERSION=
RUN test -z "${VERSION}" || test "$(/opt/worker-agents/bin/worker-agents --version)" = "worker-agents ${VERSION}"

FROM ${PYTHON_IMAGE} AS without-trivy
# tini can be run and not read: the kernel then keeps the memory and environment of process 1, which has all secrets, from
# code under test, as the worker does with its own.
# DL3008: Debian serves no version but the newest of its release; the digest of PYTHON_IMAGE pins the rest.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates git tini && \
    chmod 0111 /usr/bin/tini && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache \
        /var/lib/dpkg/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log && \
    echo 'worker:x:10001:' >>/etc/group && \
    echo 'worker:x:10001:10001:worker-agents:/nonexistent:/usr/sbin/nologin' >>/etc/passwd && \
    install --directory --owner=10001 --group=10001 /var/lib/worker-agents/workspace /var/lib/worker-agents/scratch \
        /var/lib/worker-agents/trivy
COPY --from=build /opt/worker-agents /opt/worker-agents
# Test commands get an environment of their own (TEST_COMMAND_PATH), and with it the base's python3, not this one.
ENV PATH=/opt/worker-agents/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/worker-agents
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s CMD ["python3", "-IS", "/opt/worker-agents/healthcheck.py"]
ENTRYPOINT ["tini", "--", "worker-agents"]
CMD ["run"]
ARG VERSION=
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="worker-agents" \
      org.opencontainers.image.description="A Kafka worker that gives every execution ticket exactly one result" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

FROM without-trivy
COPY --from=trivy /usr/local/bin/trivy /usr/local/bin/trivy
