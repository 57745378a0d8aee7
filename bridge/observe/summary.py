"""How the bridge stands, in one line: what `systemctl status` shows."""

from typing import Final

from bridge.observe import health
from bridge.observe.health import HealthInputs
from bridge.observe.status import Flow

_PARTS: Final = {"mqtt": "the MQTT broker", "kafka": "Kafka", "spool": "the spool"}


def summarise(
    inputs: HealthInputs,
    *,
    flow: Flow,
    in_flight: int,
    spooled: int,
    lag_s: float,
) -> str:
    """Say what is waited for, or how fast messages flow; `lag_s` is the oldest one's age."""
    owed = f"{in_flight} in flight, {spooled} in the spool"
    if inputs.is_stopping:
        return f"stopping; {owed}"
    is_ready, body = health.ready(inputs)
    if is_ready:
        received, settled = flow.received.now_per_s, flow.settled.now_per_s
        return f"{received:.0f} msg/s in, {settled:.0f} msg/s settled, lag {lag_s:.1f} s, {owed}"
    waits = []
    for part in health.missing_parts(body):
        check = body["checks"][part]
        reason = f"{check['state']}: {check['detail']}" if check["detail"] else check["state"]
        waits.append(f"{_PARTS[part]} ({reason})")
    return f"waiting for {' and '.join(waits)}; {owed}"
