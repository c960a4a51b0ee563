"""Views of a run beside its record: each is fed the record's lines, in order, while the run goes on.

Another one (Weights & Biases, MLflow, ...) is a class in a file of its own and one line that registers it; the key
``sinks`` switches it on by its name: docs/extending.md, "A sink". It is built with a `Run` when the run starts, gets
each line after the record has it (`utils.logging.Sink`), and is closed when the run has ended, however it did. If it
fails on the way, one line says so and the run goes on without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.logging import Logger, Scalars, Sink, event_writer
from utils.registry import Registry, hint


@dataclass(frozen=True)
class Run:
    """What a sink may want to know of its run.

    Attributes:
        token: the name that no other run has.
        config: the configuration.
        results: the folder that receives everything that a run writes, ``local_results_path``.
        sacred: sacred's run; None: there is none.
    """

    token: str
    config: Mapping[str, Any]
    results: Path
    sacred: Any = None


class Sacred(Scalars):
    """The metrics of a run in sacred's files; on whenever sacred records the run."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.sacred.log_scalar)


class TensorBoard(Scalars):
    """TensorBoard's event files, in ``tb_logs/<token>``; also switched on by PyMARL's key ``use_tensorboard``."""

    def __init__(self, run: Run) -> None:
        super().__init__(event_writer(str(run.results / "tb_logs" / run.token)))


REGISTRY = Registry("sink")
REGISTRY["sacred"] = Sacred
REGISTRY["tensorboard"] = TensorBoard


def check_sinks(config: Mapping[str, Any]) -> None:
    """Raises UserError for a name in ``sinks`` that is not registered."""
    for name in config["sinks"]:
        if not isinstance(name, str) or name not in REGISTRY:
            raise UserError(f"sinks: unknown sink '{name}'{hint(name, REGISTRY)}: registered are {', '.join(REGISTRY)}")


def attach_sinks(logger: Logger, run: Run) -> None:
    """Feeds all sinks of a run from its logger: sacred's, PyMARL's, and those that ``sinks`` names.

    Raises:
        UserError: one is unknown or cannot start.
    """
    switches = {"sacred": run.sacred is not None, "tensorboard": run.config["use_tensorboard"]}
    on = [name for name, switch in switches.items() if switch]
    for name in dict.fromkeys([*on, *run.config["sinks"]]):
        logger.attach(name, _start(name, run))


def _start(name: str, run: Run) -> Sink:
    make = REGISTRY[name]
    try:
        sink: Sink = make(run)
    except Exception as error:
        raise UserError(f"sink '{name}': cannot start: {type(error).__name__}: {error}") from error
    return sink
