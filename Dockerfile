# syntax=docker/dockerfile:1

# Every package comes by the hashes of a lock. The build backend is of the lock of the tools, which
# stay in this stage; what runs is of its own lock, with every extra, since nothing can be installed
# into a read-only image later.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all:
COPY requirements.lock requirements-runtime.lock ./
RUN pip install --require-hashes -r requirements.lock \
    && python -m venv /opt/mqtt-kafka-bridge \
    && /opt/mqtt-kafka-bridge/bin/pip install --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY bridge ./bridge
COPY config/bridge.toml ./config/
COPY deploy/monitoring ./deploy/monitoring
COPY deploy/systemd ./deploy/systemd
COPY docs/runbook.md ./docs/
RUN python -m hatchling build -t wheel -d wheels \
    && /opt/mqtt-kafka-bridge/bin/pip install --no-index --no-deps wheels/*.whl \
    && /opt/mqtt-kafka-bridge/bin/pip check


FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="mqtt-kafka-bridge" \
    org.opencontainers.image.description="Carries IoT telemetry from MQTT to Kafka and acknowledges only what is safe." \
    org.opencontainers.image.licenses="Apache-2.0"
# A user with a number, which Kubernetes can check to be no root, and its one writable directory.
RUN groupadd --system --gid 10001 bridge \
    && useradd --system --uid 10001 --gid bridge --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin bridge \
    && install -d -o bridge -g bridge -m 0700 /var/lib/mqtt-kafka-bridge
COPY --from=build /opt/mqtt-kafka-bridge /opt/mqtt-kafka-bridge
ENV PATH=/opt/mqtt-kafka-bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/mqtt-kafka-bridge
USER 10001:10001
VOLUME ["/var/lib/mqtt-kafka-bridge"]
EXPOSE 9464
# Ended by `docker stop` after 10 s unless told otherwise: give it more than
# shutdown.drain_timeout_s (`docker stop --time 45`, or stop_grace_period in compose.yaml).
STOPSIGNAL SIGTERM
# Live, not ready: a bridge that waits for Kafka is healthy, and restarting it would not help.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:9464/health/live', timeout=3)"]
ENTRYPOINT ["mqtt-kafka-bridge"]
CMD ["run", "--config", "/etc/mqtt-kafka-bridge/bridge.toml"]
