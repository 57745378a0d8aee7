"""The dead letters from end to end, with a bar that says how far it is."""

from collections.abc import Generator

from bridge.cli.dead_letters.options import Prepared
from bridge.cli.dead_letters.progress import progress_of
from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.letters.selection import Selection
from bridge.runtime.dead_letter_topic import DeadLetterTopic


def read_letters(
    prepared: Prepared, selection: Selection, *, batch: int
) -> Generator[Letter, None, None]:
    """Give what lies in the topic from the selection's time on, to the ends that it has now.

    What does not match is among them: only the time says where reading may begin.

    Raises:
        UnavailableError: Kafka does not answer, or refuses.
    """
    topic = DeadLetterTopic(prepared.properties, prepared.kafka_topic)
    try:
        extent = topic.extent()
        starts = topic.starts_for(selection, extent)
        total = sum(end - starts[place] for place, end in extent.ends.items())
        done = 0
        with progress_of("reading", total, "dead letters") as show:
            for letters in topic.read(starts, extent.ends, batch=batch):
                yield from letters
                done += len(letters)
                show(done, "")
    finally:
        topic.close()
