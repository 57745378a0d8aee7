"""Become another program that cannot outlive the process that started it.

Run by path, `python -I tether.py PARENT_PID PROGRAM ARGUMENT...`: it asks the kernel for SIGKILL at
the death of its parent (PR_SET_PDEATHSIG, Linux only) and then becomes PROGRAM. So nothing stays
behind even where the demo itself is killed with SIGKILL. It is a program of its own, and no
preexec_fn, because that would run Python between fork and exec in a process with threads.
The kernel forgets the wish when a program changes its user: the demo's Mosquitto must not.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("the process that started this one is gone")  # It died before the wish was made.
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
