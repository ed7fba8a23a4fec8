"""Common parts of all commands of the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from virnucpro.config import PROPERTIES
from virnucpro.data.files import refuse_pipe
from virnucpro.errors import UserError, describe_error

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


class Command(click.Command):
    """A command that reports errors as one line with status 1, and takes lists such as `--layers 24 36`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of an option before each of its values, as click expects."""
        lists = {name for option in self.params if str(option.metavar).endswith("...") for name in option.opts}
        spelled: list[str] = []
        current = None
        for number, argument in enumerate(args):
            if argument == "--":
                spelled += args[number:]
                break
            is_option = argument.startswith("-") and not argument[1:].isdigit()
            if is_option or current is None:
                current = argument if argument in lists else None
                spelled += [] if current else [argument]
            else:
                spelled += [current, argument]
        return super().parse_args(ctx, spelled)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and report errors that the user can fix."""
        try:
            for path in self._paths(ctx):
                refuse_pipe(path)
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader closed the pipe; click handles it
        except (UserError, OSError) as error:  # OSError: e.g. a full disk, or a folder without write permission
            sample = ctx.params.get("sample")
            where = f"sample {sample}: " if sample else ""
            click.echo(f"virnucpro {self.name}: error: {where}{describe_error(error)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(130)  # status of a command ended by Ctrl-C

    def _paths(self, ctx: click.Context) -> list[Path]:
        """Return the paths among the arguments."""
        values = (value if isinstance(value, tuple) else (value,) for value in ctx.params.values())
        return [value for several in values for value in several if isinstance(value, Path)]


def command(name: str, *examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that turns a function into a command; its parameters are the options."""
    epilog = "\n".join(f"example: virnucpro {name} {example}" for example in examples)
    settings = {"show_default": True, "max_content_width": 100}
    return click.command(name, Command, epilog=f"\b\n{epilog}", context_settings=settings)


def setting(key: str, description: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Return a decorator for the option of a config key, with values and default from the schema."""
    rules = PROPERTIES[key]
    kind: click.ParamType[Any] | None = None
    if "enum" in rules:
        kind = click.Choice(rules["enum"])
    elif rules.get("type") == "integer":
        kind = click.IntRange(rules["minimum"], rules.get("maximum"))
    elif rules.get("type") == "number":
        kind = SHARE
    attributes = {"type": kind, "default": rules.get("default"), "help": description} | attributes
    return click.option(f"--{key.replace('_', '-')}", **attributes)


def auto_or(
    kind: click.ParamType[Any], word: str = "auto"
) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return a callback for an option that is a number or a word, which becomes None."""
    return lambda _, __, text: None if text in (word, None) else kind(text)
