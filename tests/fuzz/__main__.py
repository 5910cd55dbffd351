"""Many mutations by hand: `python -m tests.fuzz [READER...] --mutations 2000`."""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import click

from tests.fuzz.campaign import Campaign
from tests.fuzz.readers import READERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("reader", nargs="*", choices=[*READERS, []], help="All by default.")
    parser.add_argument("--mutations", type=int, default=2_000, help="For each reader.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="A folder.")
    given = parser.parse_args()
    wrong = 0
    for name in given.reader or READERS:
        with tempfile.TemporaryDirectory() as folder:
            campaign = Campaign(name, Path(folder))
            campaign.run(given.mutations, given.seed, lambda number: None)
        click.echo(f"{name}: {given.mutations} mutations, {len(campaign.failures)} failures")
        for why, data in campaign.failures:
            given.failures.mkdir(exist_ok=True)
            path = given.failures / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            click.echo(f"  {path}: {why.strip().splitlines()[-1][:1_000]}")
        wrong += len(campaign.failures)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
