"""Pictures of a checkpoint's agents at play: a GIF, an MP4 where ffmpeg is installed, frames, the paper's figures.

Examples:
  python src/render.py results/models/TOKEN
  python src/render.py results/models/TOKEN/STEP --seed 7 --frames 0,20,40 with env_args.episode_limit=60
  python src/render.py results/models/TOKEN --figure 6 --assigner metagrad,spatial
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.checkpoint import find_checkpoint
from rendering.figures import choose_episode, draw_figure, stages
from rendering.files import encoder, write_gif, write_mp4, write_png, write_svg
from rendering.play import Film, play
from run import build
from settings.load import load_config, load_saved_config, results_path
from utils.commandline import Parser, fail
from utils.errors import UserError
from utils.files import check_writable

FIGURES = (6, 10)  # of the paper
FIGURE_SCALE = 2  # of a figure's PNG, for print


def cli(argv: Sequence[str]) -> int:
    """Run one command line and return the exit status; a `UserError` becomes one line on stderr."""
    try:
        render(argv)
    except UserError as error:
        return fail(error)
    return 0


def render(argv: Sequence[str]) -> None:
    """Play and draw what the command line asks for.

    Raises:
        UserError: a mistake in the command line, or a checkpoint that does not fit; nothing has been written then.
    """
    options = _parse(argv)
    checkpoint = find(options.checkpoint)
    assigners = options.assigner.split(",") if options.assigner else [None]
    if len(assigners) > 1 and options.figure is None:
        raise UserError(f"--assigner: expected one name without --figure, got {options.assigner}")
    configs = [configuration(options, checkpoint, assigner) for assigner in assigners]
    out = Path(options.out) if options.out else results_path(configs[0]) / "renders" / checkpoint.token
    check_writable(out, "--out")
    rows = [_play(config, options) for config in configs]
    stem = f"{configs[0]['env']}{len(rows[0][0].scenes[0].agents)}"
    if options.figure is not None:
        _write_figure(rows, options, out / f"{stem}_figure{options.figure}_{checkpoint.step}")
    else:
        _write_films(rows[0], options, out / "_".join(filter(None, [stem, rows[0][0].assigner, str(checkpoint.step)])))


# --- the command line ---


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    arguments = list(argv[1:])
    split = arguments.index("with") if "with" in arguments else len(arguments)
    parser = Parser("render.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = "%(prog)s CHECKPOINT [options] [with key=value ...]"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="results/models/TOKEN (its latest step) or .../STEP")
    parser.add_argument("--out", metavar="DIR", help="folder of the pictures (default results/renders/TOKEN)")
    parser.add_argument("--episodes", type=_count, default=1, metavar="N", help="episodes to play (default 1)")
    parser.add_argument("--seed", type=int, metavar="S", help="of environment and agents (default: the run's)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="the agents' best actions (default: as the run's tests)")
    how.add_argument("--sample", action="store_true", help="actions as in training: sampled, or with exploration")
    parser.add_argument("--fps", type=_speed, default=5.0, help="frames per second (default 5)")
    parser.add_argument("--frames", type=_steps, default=[], metavar="A,B,C", help="steps to write as PNG, too")
    parser.add_argument("--assigner", metavar="NAME", help="other sub-teams; with --figure several: a row for each")
    parser.add_argument("--figure", type=int, choices=FIGURES, help="the paper's figure instead of a film: PNG and SVG")
    parser.add_argument("--steps", type=_steps, metavar="A,B,C", help="steps of the figure's panels")
    parser.add_argument("--config", help="algorithm of a checkpoint without a config.json, as PyMARL's are")
    parser.add_argument("--env-config", help="its environment")
    options = parser.parse_args(arguments[:split])
    options.updates = arguments[split + 1 :]
    if options.steps is not None and options.figure is None:
        raise UserError("--steps: belongs to --figure; --frames writes single frames")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 50:  # what viewers of GIFs can do
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 50, got {text}")
    return speed


def _steps(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected steps such as 0,20,40, got {text}")
    return [int(part) for part in parts]


# --- the checkpoint and its configuration ---


@dataclass(frozen=True)
class Checkpoint:
    """Where the models are.

    Attributes:
        folder: that holds a folder for each step.
        step: the one to load.
        token: name of the run.
        config: the run's configuration, None if it left none.
    """

    folder: Path
    step: int
    token: str
    config: Path | None


def find(path: str) -> Checkpoint:
    """The checkpoint of ``results/models/TOKEN``, ``.../TOKEN/STEP``, ``.../TOKEN/best`` or a folder of PyMARL's.

    Raises:
        UserError: there is none.
    """
    given = Path(path)
    if given.name.isdecimal() and given.is_dir():
        folder, step = given.parent, int(given.name)
    else:
        folder, step = given, find_checkpoint(path, load_step=0)[1]
    folder = folder.resolve()
    config = next((home / "config.json" for home in (folder, folder.parent) if (home / "config.json").is_file()), None)
    return Checkpoint(folder, step, config.parent.name if config else folder.name, config)


def configuration(options: argparse.Namespace, checkpoint: Checkpoint, assigner: str | None) -> dict[str, Any]:
    """The configuration to build: the run's, or what the command line names; one episode at a time, nothing trained.

    Raises:
        UserError: there is none, or a key that it does not have.
    """
    updates = list(options.updates)
    updates += [f"seed={options.seed}"] if options.seed is not None else []
    updates += ["test_greedy=true"] if options.greedy else []
    # Of the steps that are there the nearest is loaded, 0 stands for the latest: -1 is next to step 0.
    updates += ["evaluate=true", "runner=episode", "batch_size_run=1", f"load_step={checkpoint.step or -1}"]
    updates += [f"checkpoint_path={checkpoint.folder}"]
    if options.config or options.env_config:
        config = load_config(options.config, options.env_config, updates)
    elif checkpoint.config is not None:
        config = load_saved_config(checkpoint.config, updates)
    else:
        raise UserError(
            f"CHECKPOINT: {checkpoint.folder} has no config.json: give --config and --env-config of the run that "
            "saved it, and after 'with' what it changed"
        )
    if assigner is not None:
        if "assigner" not in config:
            raise UserError(f"--assigner: {config['name']} has no sub-teams to assign agents to, got {assigner}")
        config["assigner"] = assigner
    if "render" in config["env_args"]:
        config["env_args"]["render"] = None  # the pictures are what there is to see
    return config


# --- playing and writing ---


def _play(config: dict[str, Any], options: argparse.Namespace) -> list[Film]:
    experiment = build(config)
    try:
        return play(experiment, options.episodes, explore=options.sample)
    finally:
        experiment.close()


def _write_films(films: Sequence[Film], options: argparse.Namespace, path: Path) -> None:
    """The films and single frames of episodes, whose names begin like ``path``."""
    for film in films:
        _check_steps("--frames", options.frames, film)
    ffmpeg = encoder()
    for number, film in enumerate(films, start=1):
        start = path if len(films) == 1 else _named(path, f"_episode{number}")
        painter = film.painter()
        drawings = [film.draw(painter, t) for t in range(len(film))]
        gif = _named(start, ".gif")
        write_gif(drawings, gif, options.fps)
        _report(gif)
        if ffmpeg is not None:
            write_mp4(gif, _named(start, ".mp4"), ffmpeg)
            _report(_named(start, ".mp4"))
        for step in options.frames:
            frame = _named(start, f"_step{step:03d}.png")
            write_png(drawings[step], frame)
            _report(frame)
    if ffmpeg is None:
        print("no MP4: neither the package imageio-ffmpeg nor the program ffmpeg is installed")


def _write_figure(rows: Sequence[Sequence[Film]], options: argparse.Namespace, path: Path) -> None:
    """The figure of the episode that it shows; each row is the same episodes under another assigner."""
    episode = choose_episode(options.figure, rows[0])
    films = [row[episode] for row in rows]
    steps = options.steps or stages(films[0].scenes)
    _check_steps("--steps", steps, films[0])
    drawing = draw_figure(films, steps)
    write_png(drawing, _named(path, ".png"), FIGURE_SCALE)
    write_svg(drawing, _named(path, ".svg"))
    _report(_named(path, ".png"))
    _report(_named(path, ".svg"))


def _check_steps(option: str, steps: Sequence[int], film: Film) -> None:
    if steps and max(steps) >= len(film):
        raise UserError(f"{option}: expected steps up to {len(film) - 1}, the last of the episode, got {max(steps)}")


def _named(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _report(path: Path) -> None:
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(cli(sys.argv))
