"""TLS to the MQTT broker, built anew for each connection so that renewed files are read."""

import ssl

from bridge.config.regular_files import see_that_it_is_regular
from bridge.config.sections import MqttTls


def client_context(tls: MqttTls) -> ssl.SSLContext:
    """Build a context that verifies the broker's certificate and name.

    Raises:
        OSError: A file cannot be read, or is no certificate or key (ssl.SSLError is one).
    """
    for file in (tls.ca_file, tls.cert_file, tls.key_file):
        if file is not None:
            see_that_it_is_regular(file)
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=tls.ca_file)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if tls.minimum_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context
