"""Verdicts beside the layers: a packet that the codec refuses, a topic of nobody, a fault."""

from pathlib import PurePath

from bridge.mqtt.packets import PoisonPublish
from bridge.pipeline.identity import DEVICE_ID_RULE, Address
from bridge.pipeline.verdict import Flag, Layer, Reason, Rejected, Telemetry
from bridge.pipeline.wording import quote


def rejected_by(flag: Flag, verdict: Telemetry) -> Rejected:
    """Make of a flag what a dead letter says."""
    return Rejected(flag.reason, flag.layer, flag.detail, verdict.timestamp)


def judge_poison(packet: PoisonPublish) -> Rejected:
    """Judge a packet whose frame alone is sound."""
    reason = Reason.TOO_LARGE if packet.is_too_large else Reason.MALFORMED_PACKET
    return Rejected(reason, Layer.PROTOCOL, packet.detail)


def judge_address(address: Address, topic: str) -> Rejected:
    """Judge a Topic Name that names no device of ours."""
    if address.route is None:
        detail = f"MQTT topic {quote(topic)} matches the filter of no route"
    else:
        detail = (
            f"device id {quote(address.device_id)} in the MQTT topic, expected {DEVICE_ID_RULE}"
        )
    return Rejected(Reason.DEVICE_ID_INVALID, Layer.PROTOCOL, detail)


def describe_fault(error: Exception) -> str:
    """Name the fault and the line that raised it: the letter is all that is left of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = (
        f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
    )
    return f"{type(error).__name__} at {where}: {error}"
