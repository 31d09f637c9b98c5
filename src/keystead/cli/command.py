"""How a command is declared.

    @command(app, "show")
    def show(session: Session, name: Name, compartment: InCompartment = None) -> None:
        \"\"\"Show one key.\"\"\"

The function gets the `Session` first; the command line sees the other parameters and, on every command, `--json`.
A parameter whose type is a dataclass stands for its fields, each an option of its own: options that several commands
have in common are named once, and reach the command as one thing.

Whatever a command raises as `CliError` or `Refusal` becomes words on standard error and an exit code.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Annotated, Any, TypeVar

import typer

from keystead.cli.exits import FAILED, INTERRUPTED, CliError
from keystead.cli.session import Session
from keystead.core.errors import KeysteadError

Function = TypeVar("Function", bound=Callable[..., None])

InCompartment = Annotated[
    str | None,
    typer.Option("--compartment", "-c", metavar="PATH", help="Compartment: A/B/C from the root, / or an id."),
]
Reference = Annotated[str, typer.Argument(metavar="NAME", help="Name, COMPARTMENT/NAME, or id.", show_default=False)]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="Name of what is created.", show_default=False)]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many; all otherwise.")]
IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", metavar="VERSION", help="Only if it still has this version (as `show` prints it)."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the job is done.")]
Approval = Annotated[
    str | None, typer.Option("--approval", metavar="ID", help="Others have approved of exactly this, under this id.")
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def group(help_text: str) -> typer.Typer:
    """A command that holds commands."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def command(
    app: typer.Typer, name: str, *, approvable: bool = False, **settings: Any
) -> Callable[[Function], Function]:
    """Declare a function as the command `name` of `app`; what it does may need the approval of others (`approvable`: it
    takes --approval). `settings` go to typer.
    """

    def declare(function: Function) -> Function:
        first, *others = _parameters(function)
        if first.annotation is not Session:
            raise TypeError(f"{function.__qualname__}: a command takes a Session first")
        bundles: dict[str, Any] = {item.name: item.annotation for item in others if is_dataclass(item.annotation)}
        options = {member: _parameters(bundle) for member, bundle in bundles.items()}

        def run(ctx: typer.Context, json_output: JsonOutput = False, **values: Any) -> None:
            for member, bundle in bundles.items():
                values[member] = bundle(**{option.name: values.pop(option.name) for option in options[member]})
            session = ctx.ensure_object(Session)
            session.approval = values.pop("approval", None)
            session.console.json = session.console.json or json_output
            with reported(session):
                function(session, **values)

        ask = inspect.Parameter("json_output", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOutput)
        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        named = inspect.Parameter("approval", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Approval)
        parts = (part for item in others for part in options.get(item.name, (item,)))
        own = (part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parts)
        shown = [context, *own, *([named] if approvable else []), ask]
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {item.name: item.annotation for item in shown}
        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        app.command(name, **settings)(run)
        return function

    return declare


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


@contextmanager
def reported(session: Session) -> Iterator[None]:
    """Report what goes wrong inside and leave with its exit code."""
    try:
        yield
    except CliError as error:
        told = session.explain(error)
        session.console.error(told)
        raise typer.Exit(told.exit_code) from error
    except KeysteadError as error:
        session.console.error(CliError(error.message, hint=error.hint, code=error.code))
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        session.console.remark("interrupted")
        raise typer.Exit(INTERRUPTED) from error
