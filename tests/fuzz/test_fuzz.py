"""Some damaged and hostile files for every reader; `python -m tests.fuzz` runs many."""

import sys
from pathlib import Path

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.readers import READERS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")


@pytest.mark.parametrize("reader", READERS)
def test_a_file_gives_a_result_or_one_line(reader: str, tmp_path: Path) -> None:
    campaign = Campaign(reader, tmp_path)
    campaign.run(40, done=lambda number: None)
    assert campaign.failures == []
