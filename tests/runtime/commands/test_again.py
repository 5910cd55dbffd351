import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from frcrn_export.runtime.commands.again import command_again


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default="out")
@click.option("-j", "--jobs", type=int, default=2)
@click.option("--level/--no-level", default=True)
@click.option("-f", "--force", is_flag=True)
@click.option("--pair", multiple=True)
@click.pass_context
def example(context: click.Context, **given: object) -> None:
    click.echo(command_again(context, without=["force"], added=["--skip"]))


@pytest.mark.parametrize(
    ("given", "again"),
    [
        ("b x.wav", "--skip b x.wav"),
        ("b x.wav -o 'a b' -j2 -f", "--output 'a b' --jobs 2 --skip b x.wav"),
        ("--no-level b", "--no-level --skip b"),
        ("--level b", "--level --skip b"),
        ("--pair 1 --pair '$(x)' b", "--pair 1 --pair '$(x)' --skip b"),
        ("-- b '-f.wav' 'a;b'", "--skip -- b -f.wav 'a;b'"),
        ("-- b '-f [1].wav'", "--skip -- b '-f [1].wav'"),
    ],
)
def test_a_command_is_given_again(given: str, again: str) -> None:
    result = CliRunner().invoke(example, shlex.split(given))
    assert result.output == f"frcrn-export example {again}\n"
