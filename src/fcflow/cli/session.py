"""What every command has: the options that stand everywhere, the configuration, the synchronizer, the output."""

from __future__ import annotations

import functools
import getpass
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import define, evolve, field
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from fcflow.cli.exit_codes import ExitCode, code_of_error
from fcflow.cli.output import clean, console, print_error, print_json
from fcflow.errors import ConfigError, Fault, FcflowError
from fcflow.reports import ChangeReport
from fcflow.reports import Progress as Step

if TYPE_CHECKING:
    from fcflow.config import Config
    from fcflow.synchronizer import Synchronizer

__all__ = ["Session", "command"]

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration.", envvar="FCFLOW_CONFIG", show_default="fcflow.json"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@define
class Session:
    """
    One command on its way.

    Args:
        path: Of the configuration.
    """

    path: Path = Path("fcflow.json")
    as_json: bool = False
    debug: bool = False
    _config: Config | None = field(default=None, init=False)
    _bars: _Bars | None = field(default=None, init=False)

    @property
    def config(self) -> Config:
        """The configuration; loaded when it is first asked for."""
        if self._config is None:
            from fcflow.config import load_config

            if not self.path.exists():
                fault = Fault("there is no such file", expected="a configuration; fcflow init writes one to start from")
                raise ConfigError(str(self.path), [fault])
            self._config = load_config(self.path)
        return self._config

    @property
    def actor(self) -> str:
        """Who the audit trail says it was: the variable ``FCFLOW_ACTOR``, else the user of the operating system."""
        try:
            return os.environ.get("FCFLOW_ACTOR") or getpass.getuser()
        except (OSError, KeyError):
            return "person"

    @contextmanager
    def synchronizer(self, *, touch: bool = True) -> Iterator[Synchronizer]:
        """
        A synchronizer for the length of a ``with``.

        Args:
            touch: ``False`` makes no SQLite file where there is none yet.
        """
        from fcflow.synchronizer import Synchronizer

        with Synchronizer.from_config(self._stored(touch), progress=self._step) as synchronizer:
            yield synchronizer

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Bars for the length of a ``with``, on a terminal; nothing may be printed meanwhile."""
        out = console(stderr=True)
        if self.as_json or not out.is_terminal:
            yield
            return
        with _bar(out) as bar:
            self._bars = _Bars(bar)
            try:
                yield
            finally:
                self._bars = None

    def _step(self, step: Step) -> None:
        if self._bars is not None:
            self._bars.step(step)

    def _stored(self, touch: bool) -> Config:
        path = self.config.store_url.removeprefix("sqlite:///")
        missing = path != self.config.store_url and not Path(path.split("?", 1)[0]).exists()
        return evolve(self.config, store_url="sqlite://") if missing and not touch else self.config

    def show(self, document: Any, *renderables: RenderableType) -> None:
        """Print *document* as JSON where that was asked for, else the *renderables*."""
        if self.as_json:
            print_json(document)
            return
        out = console()
        for renderable in renderables:
            out.print(renderable)

    def show_change(self, report: ChangeReport, done: str, instead: Mapping[str, str] | None = None) -> ExitCode:
        """
        Print what a change by hand did; refusals go to standard error, each with its reason.

        Args:
            instead: What was done where it was something other than *done*.
        """
        said = instead or {}
        if self.as_json:
            print_json({"changed": report.changed, "refused": report.refused})
        else:
            for changed in report.changed:
                console().print(clean(f"{changed}: {said.get(changed, done)}"), markup=False)
            for name, reason in report.refused.items():
                console(stderr=True).print(clean(f"{name}: {reason}"), markup=False)
        if report.ok:
            return ExitCode.FINE
        return ExitCode.NEEDS_PERSON if report.changed else ExitCode.REFUSED


def _bar(out: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, console=out, transient=True)


@define
class _Bars:
    """One bar for each partner and phase."""

    bar: Progress
    tasks: dict[str, TaskID] = field(factory=dict)

    def step(self, step: Step) -> None:
        name = f"{step.partner}: {step.phase}" if step.partner else step.phase
        if name not in self.tasks:
            self.tasks[name] = self.bar.add_task(name, total=step.total)
        self.bar.update(self.tasks[name], completed=step.done, total=step.total)


# ------------------------------------------------------------------ commands


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Register a function as the command *name*.

    The function takes a `Session` first and returns an exit code or ``None``. The options that stand everywhere are
    added to its own, and errors of fcflow become a message and an exit code.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(context: typer.Context, *, config: Path | None, json: bool, debug: bool, **options: Any) -> None:
            session = _session(context, config, json, debug)
            raise typer.Exit(_guarded(session, functools.partial(function, session, **options)))

        _sign(run, function)
        app.command(name, **settings)(run)
        return function

    return register


def _session(context: typer.Context, config: Path | None, as_json: bool, debug: bool) -> Session:
    outer: Session = context.obj if isinstance(context.obj, Session) else Session()
    return Session(config or outer.path, as_json or outer.as_json, debug or outer.debug)


def _guarded(session: Session, function: Callable[[], Any]) -> int:
    log = logging.getLogger("fcflow")
    log.addFilter(_is_news)
    try:
        return int(function() or ExitCode.FINE)
    except FcflowError as error:
        print_error(error, as_json=session.as_json, debug=session.debug)
        return int(code_of_error(error))
    finally:
        log.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Not what stands in the report of the run, which is printed anyway."""
    return not getattr(record, "reported", False)


def _sign(run: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Give *run* the signature that typer reads: a context, the function's own options, those that stand everywhere."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    everywhere = (("config", ConfigOption, None), ("json", JsonOption, False), ("debug", DebugOption, False))
    parameters: Sequence[inspect.Parameter] = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(inspect.Parameter(name, keyword, annotation=kind, default=value) for name, kind, value in everywhere),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # a function takes any attribute
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # type: ignore[attr-defined]  # a function takes any attribute
