"""The rules on trial as metrics, in closed labels, and in `/status`, which names firmware too."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, Metric

from bridge.observe.text import printable
from bridge.pipeline.differences import Group, GroupKey
from bridge.pipeline.shadow import Shadow

_GROUPS_SHOWN: Final = 20


def shadow_families(shadow: Shadow | None) -> Iterator[Metric]:
    """Give every family; none where no rules are on trial."""
    if shadow is None:
        return
    verdicts = CounterMetricFamily(
        "bridge_shadow_verdicts",
        "What the rules of [shadow] would change, for each reason of each reading.",
        labels=["change", "reason", "device_type"],
    )
    for labels, value in shadow.differences.verdicts.items():
        verdicts.add_metric(labels, value)
    yield verdicts
    readings = CounterMetricFamily(
        "bridge_shadow_readings",
        "Readings by whether the rules of [shadow] judged them.",
        labels=["outcome"],
    )
    readings.add_metric(["judged"], shadow.differences.judged)
    readings.add_metric(["left_out"], shadow.left_out)
    readings.add_metric(["failed"], shadow.faults)
    yield readings


def shadow_tree(shadow: Shadow | None) -> dict[str, Any]:
    """Write it for `/status`: nothing of a payload but the firmware version, cut and escaped."""
    if shadow is None:
        return {"state": "off"}
    differences = shadow.differences
    groups = differences.groups()
    return {
        "state": "on",
        "sample_ratio": shadow.sample_ratio,
        "judged": differences.judged,
        "left_out": shadow.left_out,
        "failed": shadow.faults,
        "readings": differences.readings,
        "groups_are_exact": differences.is_exact,
        "groups": len(groups),
        "largest_groups": [_group_tree(*each) for each in groups[:_GROUPS_SHOWN]],
    }


def _group_tree(key: GroupKey, group: Group) -> dict[str, Any]:
    return {
        "change": key.change,
        "reason": key.reason,
        "device_type": key.device_type,
        "firmware": printable(key.firmware),
        "readings": group.count,
        "readings_at_most": group.count + group.missed_max,
        "devices": [printable(each) for each in group.examples],
    }
