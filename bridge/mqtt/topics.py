"""Topic Filters: which Topic Names they match, and where the device id stands in them."""

_SEPARATOR = "/"
_SINGLE = "+"
_MULTI = "#"


class TopicFilter:
    """One Topic Filter, split once; the level at its `+` is the device id.

    Topic Names are compared level by level, case and all; an empty level is a level like any
    other [MQTT-4.7.3-4], so `devices/+/telemetry` matches `devices//telemetry` and it is for the
    caller to refuse the empty device id.
    """

    def __init__(self, text: str) -> None:
        levels = text.split(_SEPARATOR)
        self.text = text
        self._is_open = levels[-1] == _MULTI
        self._levels = levels[:-1] if self._is_open else levels
        self._device_level = levels.index(_SINGLE) if _SINGLE in levels else None
        self._starts_wild = levels[0] in (_SINGLE, _MULTI)

    def matches(self, topic: str) -> bool:
        """Tell whether a Topic Name falls under this filter."""
        if self._starts_wild and topic.startswith("$"):
            return False  # A leading wildcard never matches a $-topic [MQTT-4.7.2-1].
        sent = topic.split(_SEPARATOR)
        own = self._levels
        # "sport/#" also matches "sport" itself: the # stands for no level too [MQTT-4.7.1.2].
        if len(sent) < len(own) or (len(sent) > len(own) and not self._is_open):
            return False
        return all(level in (_SINGLE, other) for level, other in zip(own, sent, strict=False))

    def device_id_from(self, topic: str) -> str | None:
        """Return the level at the `+`; None where the topic does not match or there is no `+`."""
        if self._device_level is None or not self.matches(topic):
            return None
        return topic.split(_SEPARATOR)[self._device_level]
