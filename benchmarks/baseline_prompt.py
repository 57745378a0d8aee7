"""The baseline with the bridge's linger: fresher records, for more CPU."""

import asyncio
import os

from benchmarks.baseline import main
from bridge.runtime.event_loop import choose_loop

if __name__ == "__main__":
    with asyncio.Runner(loop_factory=choose_loop(os.environ)) as runner:
        runner.run(main(linger_ms=0))
