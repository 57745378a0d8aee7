"""The fleet as metrics: closed labels, never a device."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bridge.fleet.drift import OFFSET_BOUNDS_S
from bridge.observe.counters import Counters
from bridge.observe.fleet_facts import FleetFacts, Standing


def fleet_families(facts: FleetFacts, counters: Counters) -> Iterator[Metric]:
    """Give every family of the fleet."""
    alerts = CounterMetricFamily(
        "bridge_device_alerts", "Alerts told of devices, by type.", labels=["type"]
    )
    for kind, value in counters.alerts.items():
        alerts.add_metric([kind], value)
    yield alerts
    devices = GaugeMetricFamily(
        "bridge_devices", "Known devices by how they stand.", labels=["state"]
    )
    for standing in Standing:
        devices.add_metric([standing], facts.devices.get(standing, 0))
    yield devices
    yield CounterMetricFamily(
        "bridge_alert_records_dropped",
        "Alerts that waited for Kafka and went because there were too many.",
        value=counters.alert_records_dropped,
    )
    yield CounterMetricFamily(
        "bridge_device_clocks_told_wrong",
        "Times that a device's clock was found wrong.",
        value=counters.clocks_told_wrong,
    )
    for name, meaning, value in (
        (
            "bridge_silence_hears",
            "1 while a device that speaks would be heard, so that silence is judged.",
            int(facts.is_silence_on and facts.can_hear),
        ),
        ("bridge_fleet_silent", "1 while many devices are silent at once.", facts.is_fleet_silent),
        ("bridge_device_clocks_wrong", "Devices whose clock is wrong.", facts.clocks_wrong),
        ("bridge_alerts_held", "Alerts that Kafka has not confirmed.", facts.alerts_held),
        (
            "bridge_host_clock_trusted",
            "0 while the host's own clock is doubted and no timestamp is judged.",
            int(not facts.host_doubt),
        ),
    ):
        yield GaugeMetricFamily(name, meaning, value=value)
    yield _offsets(facts)


def _offsets(facts: FleetFacts) -> Metric:
    """Write how the clocks of the fleet are spread: a device moves between buckets, so a gauge."""
    family = Metric(
        "bridge_device_clock_offset_seconds",
        "Devices by the offset of their clock, server minus device; buckets go down too.",
        "gaugehistogram",
    )
    so_far = 0
    for bound, count in zip((*map(str, OFFSET_BOUNDS_S), "+Inf"), facts.offsets, strict=True):
        so_far += count
        family.add_sample(f"{family.name}_bucket", {"le": bound}, so_far)
    return family
