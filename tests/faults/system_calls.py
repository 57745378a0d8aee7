"""What the kernel was asked, and in which order: the proof that a PUBACK follows its fdatasync."""

import re
import shutil
import subprocess
from pathlib import Path

_PUBACK = 0x40
_CALL = re.compile(
    r"^(?P<thread>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?:\(| resumed>)(?P<rest>.*)$", re.MULTILINE
)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def trace_prefix(output: Path) -> list[str] | None:
    """Return what to put before a command so that its calls are written down; None without strace.

    `-D` makes the tracer the grandchild: the process started is the traced one.
    """
    strace = shutil.which("strace")
    if strace is None:
        return None
    tried = subprocess.run([strace, "-qq", "-o", "/dev/null", "true"], check=False)
    if tried.returncode != 0:
        return None
    calls = "trace=fdatasync,fsync,sendto,sendmsg,write,writev,recvfrom,recvmsg,read"
    wanted = ["-f", "-D", "-qq", "-yy", "-xx", "-s", "4096", "-e", calls, "-e", "signal=none"]
    return [strace, *wanted, "-o", str(output)]


class Calls:
    """The calls of a trace that concern the MQTT link and files, in the order of their ends.

    What was sent counts from the beginning of its call, what was synced or received from its end:
    so "after" is never more than what the kernel knew.
    """

    def __init__(self, trace: str, *, mqtt_port: int) -> None:
        self.steps: list[tuple[str, bytes]] = []
        """`received`, `sent` with the bytes of the MQTT link; `synced` with the path."""
        link = f"->127.0.0.1:{mqtt_port}]"
        begun: dict[tuple[str, str], str] = {}
        for call in _CALL.finditer(trace):
            thread, name, rest = call["thread"], call["name"], call["rest"]
            if "unfinished ..." in rest:
                begun[thread, name] = rest
                if link in rest and name in {"sendto", "sendmsg", "write", "writev"}:
                    self.steps.append(("sent", _bytes_in(rest)))
                continue
            is_resumed = (thread, name) in begun
            whole = begun.pop((thread, name), "") + rest
            if name in {"fdatasync", "fsync"} and whole.rstrip().endswith("= 0"):
                self.steps.append(("synced", _path_in(whole)))
            elif link not in whole:
                continue
            elif name in {"recvfrom", "recvmsg", "read"}:
                self.steps.append(("received", _bytes_in(whole)))
            elif not is_resumed:
                self.steps.append(("sent", _bytes_in(whole)))

    def between_publish_and_puback(self, word: bytes, file_name: bytes) -> list[int]:
        """Count, for each PUBLISH that holds the word, the syncs before the next PUBACK."""
        told: list[int] = []
        syncs: int | None = None
        for kind, what in self.steps:
            if kind == "received" and word in what:
                syncs = 0
            elif kind == "synced" and file_name in what and syncs is not None:
                syncs += 1
            elif kind == "sent" and what[:1] == bytes([_PUBACK]) and syncs is not None:
                told.append(syncs)
                syncs = None
        return told


def _bytes_in(rest: str) -> bytes:
    return b"".join(
        bytes.fromhex(found.replace("\\x", "")) for found in _TEXT.findall(rest) if found
    )


def _path_in(rest: str) -> bytes:
    """Return the path that -yy writes behind the descriptor; -xx escapes it too."""
    inside = rest.partition("<")[2].partition(">")[0]
    if "\\x" in inside:
        return bytes.fromhex(inside.replace("\\x", ""))
    return inside.encode()
