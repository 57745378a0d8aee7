"""A program that runs to its end while the event loop of the test goes on."""

import asyncio
import os
from collections.abc import Sequence

import msgspec

_ENDS_WITHIN_S = 60.0


class Done(msgspec.Struct, frozen=True):
    """How it ended, and what it said."""

    code: int
    output: str
    errors: str


async def run_program(command: Sequence[str], **environment: str) -> Done:
    """Run it; variables given are added to the environment."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    async with asyncio.timeout(_ENDS_WITHIN_S):
        output, errors = await process.communicate()
    code = process.returncode
    assert code is not None, "it ended"
    return Done(code, output.decode(), errors.decode())
