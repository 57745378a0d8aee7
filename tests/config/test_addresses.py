"""Names of hosts, as a resolver takes them."""

import pytest

from bridge.config.addresses import host_and_port, is_host

LABEL = "a" * 63


@pytest.mark.parametrize("host", ["a", "a.b", "a.b.", "my_host-1.lan", LABEL, f"{LABEL}.{LABEL}"])
def test_a_name_is_labels_between_points(host: str) -> None:
    assert is_host(host)
    assert (host, 1) == host_and_port(f"{host}:1")


@pytest.mark.parametrize("host", ["a..b", ".a", ".", "a..", "-a", "a-", "a.-b", f"{LABEL}a", "a b"])
def test_what_no_resolver_takes_is_no_name(host: str) -> None:
    assert not is_host(host)
    with pytest.raises(ValueError, match="has a host that is no name or address"):
        host_and_port(f"{host}:1")
