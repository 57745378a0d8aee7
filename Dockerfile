# syntax=docker/dockerfile:1

# The lock covers the development tools too. All of it is fetched by its hashes; the build backend
# and the bridge are then installed from those files alone, so that only what the bridge itself
# needs, in exactly the locked versions, gets into its virtual environment.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
RUN pip download --no-cache-dir --require-hashes --only-binary :all: --dest wheels \
        -r requirements.lock \
    && pip install --no-cache-dir --no-index --find-links wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY bridge ./bridge
COPY config/bridge.toml ./config/
COPY deploy/systemd ./deploy/systemd
RUN pip wheel --no-cache-dir --no-index --no-build-isolation --no-deps --wheel-dir wheels . \
    && python -m venv /opt/mqtt-kafka-bridge \
    && /opt/mqtt-kafka-bridge/bin/pip install --no-cache-dir --no-index --find-links wheels \
        mqtt-kafka-bridge


FROM python:3.11-slim-bookworm
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
