"""Train and evaluate multi-agent reinforcement learning, with or without VAST's sub-teams.

Examples:
  python src/main.py --config=vast_qtran --env-config=warehouse with env_args.n_agents=16
  python src/main.py --config=qmix --env-config=warehouse with lr=1e-3 seed=7 use_tensorboard=True
  python src/main.py print_config --config=vast_qmix --env-config=warehouse
"""

from __future__ import annotations

import logging
import os
import pdb
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TextIO

from docopt import DocoptExit, docopt
from tqdm import tqdm

with warnings.catch_warnings():
    # sacred imports pkg_resources, which announces its end; requirements.txt pins a setuptools that still has it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    import sacred
    from sacred.commandline_options import cli_option
    from sacred.dependencies import get_commit_if_possible
    from sacred.observers import FileStorageObserver, RunObserver
    from sacred.utils import print_filtered_stacktrace

from __about__ import __version__
from settings.load import CONFIG_DIR, available, resolve, results_path
from tracking.mongo.target import Target, choose_target
from tracking.observers import MongoObserver, RecordObserver
from tracking.sinks import check_sinks
from utils.commandline import fail, redact
from utils.errors import UserError
from utils.files import check_writable
from utils.registry import hint

EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, which sacred shall record as it records Ctrl-C: INTERRUPTED."""


def cli(argv: Sequence[str]) -> int:
    """Run one command line and return the exit status; a `UserError` becomes one line on stderr."""
    # Else numba has colorama wrap the stdout of sacred's capture, which is closed when colorama resets it at the exit.
    os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")
    _set_up_logging()
    signal.signal(signal.SIGTERM, _terminate_owner())
    try:
        return _execute(argv)
    except UserError as error:
        return fail(error)
    except Terminated:
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _execute(argv: Sequence[str]) -> int:
    experiment = _make_sacred_experiment()
    options = _parse(experiment, argv)
    if options["help"] or options["--help"]:
        print(experiment.get_usage()[1])
        return 0
    if options["--version"]:
        print(f"pymarl-vast {__version__}")
        return 0
    command = _command(experiment, options)
    settings = resolve(options["--config"], options["--env-config"], options["UPDATE"])
    config = settings.values
    check_sinks(config)
    mongo = _take_mongo(config, options)
    if command == "print_config":
        from settings.listing import describe  # late: it looks up parts

        print(redact(describe(settings)))
        return 0
    experiment.add_config(config)
    if command != experiment.default_command:
        experiment.run(command, options=options)
        return 0
    folder = results_path(config) / "sacred"
    check_writable(folder, "local_results_path")
    return _train(experiment, config, options, [MongoObserver(folder, mongo)] if mongo else [])


def _take_mongo(config: dict[str, Any], options: dict[str, Any]) -> Target | None:
    """The MongoDB that the run shall be delivered to; neither its URI nor a trace of it stays with the run."""
    target = choose_target(options["--mongo_db"], config.pop("mongo_url"), config.pop("mongo_db"))
    options["--mongo_db"] = None  # else sacred would add its own observer
    options["UPDATE"] = [update for update in options["UPDATE"] if update.partition("=")[0].strip() != "mongo_url"]
    return target


def _train(
    experiment: sacred.Experiment, config: dict[str, Any], options: dict[str, Any], observers: Sequence[RunObserver]
) -> int:
    """Build all parts, then run them under sacred: a mistake that the build finds leaves no record behind."""
    from run import build  # late: a mistake in the configuration is told before PyTorch is imported

    experiment.built = build(config)  # where sacred's main function finds them
    folder = results_path(config) / "sacred"
    experiment.observers += [
        FileStorageObserver(folder),
        RecordObserver(folder, experiment.built.token, experiment.built.logger),
        *observers,
    ]
    try:
        experiment.run(experiment.default_command, info={}, meta_info={"version": __version__}, options=options)
    except UserError:
        raise
    except Exception as error:
        if options["--debug"]:
            raise
        print_filtered_stacktrace()
        if options["--pdb"]:
            pdb.post_mortem(error.__traceback__)
        return EXIT_FAILURE
    finally:
        experiment.built.close()
    return 0


# --- sacred ---


@cli_option("-a", "--config")
def _config_option(_name: str, _run: Any) -> None:
    """Algorithm: the name of a file in src/config/algs, without .yaml."""


@cli_option("-E", "--env-config")
def _env_config_option(_name: str, _run: Any) -> None:
    """Environment: the name of a file in src/config/envs, without .yaml."""


@cli_option("-V", "--version", is_flag=True)
def _version_option(_given: bool, _run: Any) -> None:
    """Print the version of this project and exit."""


def _make_sacred_experiment() -> sacred.Experiment:
    sacred.SETTINGS.CAPTURE_MODE = "sys"  # "fd" hangs when worker processes inherit its pipes
    sacred.SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    experiment = sacred.Experiment(
        "pymarl-vast",
        base_dir=str(CONFIG_DIR.parent),
        additional_cli_options=[_config_option, _env_config_option, _version_option],
        save_git_info=_git_works(),
    )
    experiment.logger = logging.getLogger()
    names = (f"{what}: {', '.join(available(CONFIG_DIR, folder))}" for what, folder in _CHOICES.items())
    experiment.doc = "\n".join([__doc__ or "", *names])

    @experiment.main
    def main(_run: Any) -> Any:
        """Train, or evaluate with evaluate=True, and record the run. The default command."""
        return experiment.built.run(_run)

    @experiment.command(unobserved=True)
    def print_config() -> None:
        """Print every key with its value, where that comes from and what it is, and exit."""

    return experiment


_CHOICES = {"Algorithms": "algs", "Environments": "envs", "Presets": "presets"}


def _git_works() -> bool:
    """Whether sacred can record the commit; it stops without git, before the first commit and in others' checkouts."""
    try:
        get_commit_if_possible(__file__, True)
    except Exception:
        return False
    return True


def _parse(experiment: sacred.Experiment, argv: Sequence[str]) -> dict[str, Any]:
    """The command line by sacred's grammar: COMMAND, UPDATE and one entry for each option."""
    usage = experiment.get_usage()[2]
    try:
        return docopt(usage, list(argv[1:]), default_help=False)
    except DocoptExit as error:
        problem = str(error).splitlines()[0]
        if "unmatched" in problem:  # docopt lists its own objects: show the user's words in them
            problem = "does not fit: " + " ".join(re.findall("'([^']+)'", problem))
        raise UserError(f"command line: {problem}; --help explains its form") from None


def _command(experiment: sacred.Experiment, options: dict[str, Any]) -> str:
    commands = [name for name, _ in experiment.gather_commands()]
    command = options["COMMAND"] or experiment.default_command
    if command not in commands:
        raise UserError(f"unknown command '{command}'{hint(command, commands)}: choose one of {', '.join(commands)}")
    return command


# --- process ---


def _terminate_owner() -> Callable[[int, FrameType | None], None]:
    """A SIGTERM handler that interrupts this process, and simply ends the children that inherit it by fork."""
    owner = os.getpid()

    def handle(signum: int, _frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    return handle


class _ConsoleHandler(logging.StreamHandler[TextIO]):
    """Log lines on whatever stdout is when they are written, so that sacred's capture sees them."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # not StreamHandler's, which would keep today's stream

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.__stderr__):  # a progress bar makes room
            super().emit(record)


def _set_up_logging() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="[%(levelname)s %(asctime)s] %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        handlers=[_ConsoleHandler()],
    )


if __name__ == "__main__":
    sys.exit(cli(sys.argv))
