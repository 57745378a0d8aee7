"""A progress bar on standard error, where that is a terminal; else nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_of(title: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """Give the call that says how many are done, and a word on them."""
    if not sys.stderr.isatty() or not total:
        yield lambda _done, _word: None
        return
    from rich.console import Console  # noqa: PLC0415 - 60 ms that a pipe need not wait for
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[word]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=total, word="")
        yield lambda done, word: bar.update(task, completed=done, word=word)
