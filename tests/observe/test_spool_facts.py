import pytest

from bridge.observe.spool_facts import disk_remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("database or disk is full", "free room on the file system of spool.directory"),
        (
            "attempt to write a readonly database",
            "let the bridge write spool.directory: owner, mode, mount",
        ),
        (
            "disk I/O error",
            "look at the disk (dmesg); the records in it are needed, so copy it first",
        ),
        (
            "database disk image is malformed",
            "the file is damaged: copy spool.directory before anything else, then look at the disk",
        ),
        ("locking protocol", "see that the file system of spool.directory can be written"),
    ],
)
def test_an_error_of_the_disk_has_its_remedy(error: str, remedy: str) -> None:
    assert disk_remedy(f'spool "/full/x" cannot be written: {error}') == remedy
