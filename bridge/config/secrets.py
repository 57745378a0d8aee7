"""Reading a secret from where the configuration says it is; its value is in no message."""

from collections.abc import Mapping
from pathlib import Path

from bridge.config.paths import escaped, is_text, quoted, quoted_path
from bridge.config.regular_files import open_regular
from bridge.config.sections import Secret
from bridge.errors import ConfigError

_KINDS = {
    "file": "secret file",
    "env": "environment variable",
    "credential": "systemd credential",
}
REMEDY = "put it there, where the user of the bridge may read it"
SECRET_BYTES_MAX = 65_535
"""An MQTT password holds no more (its length has two bytes), and a wrong path ends here."""


def read(secret: Secret, environment: Mapping[str, str]) -> str:
    """Return the secret itself.

    Raises:
        ConfigError: it is not there or cannot be a secret; says where it was looked for.
    """
    sources = named_sources(secret)
    if len(sources) != 1:
        raise ConfigError(["a secret names exactly one of file, env or credential"])
    name = str(getattr(secret, sources[0]))
    where = f"{_KINDS[sources[0]]} {quoted(name) if secret.file is None else quoted_path(name)}"
    if secret.env is not None:
        text = _read_variable(secret.env, environment, where)
    else:
        text = _read_file(_path(secret, environment, where), where)
    if not text:
        raise ConfigError([f"{where} is empty; write the secret into it"])
    if "\0" in text:
        raise ConfigError([f"{where} has a NUL character; a secret is text"])
    return text


def named_sources(secret: Secret) -> list[str]:
    """List which of the three a secret names; one is right."""
    return [name for name in ("file", "env", "credential") if getattr(secret, name) is not None]


def path_of(secret: Secret, environment: Mapping[str, str]) -> Path | None:
    """Return the file that holds a secret; None where none does, or none can be named."""
    if secret.env is not None or len(named_sources(secret)) != 1:
        return None
    try:
        return _path(secret, environment, "")
    except ConfigError:
        return None


def _path(secret: Secret, environment: Mapping[str, str], where: str) -> Path:
    if secret.file is not None:
        return Path(secret.file)
    name = secret.credential
    assert name is not None, "a secret that is no file and no variable is a credential"
    if "/" in name or name in {".", ".."}:
        raise ConfigError([f"{where} is no name; write it without directories"])
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if directory:
        return Path(directory) / name
    reason = "$CREDENTIALS_DIRECTORY is not set"
    remedy = f"add LoadCredential={escaped(name)}:/path to the unit, or name a file"
    raise ConfigError([f"{where} cannot be read: {reason}; {remedy}"])


def _read_file(path: Path, where: str) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no path"
        raise ConfigError([f"{where} could not be read: {reason}; {REMEDY}"]) from None
    if len(content) > SECRET_BYTES_MAX:
        raise ConfigError([f"{where} is longer than {SECRET_BYTES_MAX} bytes; is it a secret?"])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        # The original error would carry the bytes, and with them the secret.
        raise ConfigError([f"{where} is not UTF-8 text"]) from None
    return text.removesuffix("\n").removesuffix("\r")


def _read_variable(name: str, environment: Mapping[str, str], where: str) -> str:
    if name not in environment:
        raise ConfigError([f"{where} is not set; export the secret"])
    if not is_text(environment[name]):
        raise ConfigError([f"{where} is not UTF-8 text"])
    return environment[name]
