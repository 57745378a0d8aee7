"""One file a command: `add_parser(subparsers)` says what it takes, `execute(arguments)` does it."""
