"""What all commands of the command line have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from virnucpro.config import PROPERTIES
from virnucpro.errors import UserError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


class Command(click.Command):
    """A command whose errors are one line and status 1, and whose lists may be written as `--layers 24 36`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of an option before each of its values, as click wants it."""
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
        """Run the command; report what the user has to mend."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read has had enough, which click knows of
        except (UserError, OSError) as error:  # OSError: a full disk, a folder that must not be written
            sample = ctx.params.get("sample")
            where = f"sample {sample}: " if sample else ""
            click.echo(f"virnucpro {self.name}: error: {where}{error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(130)  # as shells say of what Ctrl-C ended


def command(name: str, *examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that makes a command of a function, whose parameters are its options."""
    epilog = "\n".join(f"example: virnucpro {name} {example}" for example in examples)
    settings = {"show_default": True, "max_content_width": 100}
    return click.command(name, Command, epilog=f"\b\n{epilog}", context_settings=settings)


def setting(key: str, description: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Return a decorator for the option of a config key: its schema has the values that it takes, and its default."""
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


def auto_or(kind: click.ParamType[Any]) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return a callback for an option with numbers of a kind, that makes None of `auto`."""
    return lambda _, __, text: None if text == "auto" else kind(text)
