"""A command as the user gave it, to paste again with other options."""

from collections.abc import Collection

import click
from click.core import ParameterSource

from frcrn_export.runtime.text import quoted


def command_again(
    context: click.Context, *, without: Collection[str] = (), added: Collection[str] = ()
) -> str:
    """The command line of a context: all that the user gave, quoted for a shell.

    Args:
        context: Of the command that runs.
        without: Names of parameters to leave out, such as "force".
        added: Options to add, such as "--skip-existing".
    """
    words = ["frcrn-export", str(context.info_name)]
    arguments: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or name in without:
            continue
        values = value if isinstance(value, (tuple, list)) else [value]
        if isinstance(parameter, click.Argument):
            arguments += [quoted(each) for each in values]
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append((parameter.opts if value else parameter.secondary_opts)[-1])
        else:
            words += [f"{parameter.opts[-1]} {quoted(each)}" for each in values]
    # An argument that looks like an option stands behind "--".
    guard = ["--"] if any(each.lstrip("'").startswith("-") for each in arguments) else []
    return " ".join([*words, *added, *guard, *arguments])
