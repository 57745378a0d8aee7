"""Replay one seed: `python -m tests.simulation SEED [--trace]`."""

import argparse
import sys

from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int, nargs="?", default=1, help="so many seeds from there")
    parser.add_argument("--trace", action="store_true", help="tell every event, and the log")
    options = parser.parse_args()
    for seed in range(options.seed, options.seed + options.count):
        world = World(seed, is_traced=options.trace)
        try:
            world.live()
        except AssertionError as error:
            sys.stdout.write(f"{error}\n")
            return 1
        if options.trace:
            sys.stdout.write(f"{world.story()}\n")
    sys.stdout.write(f"{options.count} seeds from {options.seed}: every sentence held\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
