"""An assigner of your own: who acts alike is in one sub-team. Without an edit of src.

    bash run.sh python examples/own_assigner.py

trains VAST with it and with the shipped `fixed` for a few updates. It prints how many distinct sets of sub-teams were
active in ten episodes (the paper's division diversity), and which share of the sub-teams is active at a step. With
words behind it the file is your own main.py, which knows your assigner:

    bash run.sh python examples/own_assigner.py --config=vast_qtran --env-config=battle with assigner=alike t_max=20000
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from assigners import REGISTRY
from assigners.base import Assigner, Assignment
from components.episode_buffer import EpisodeBatch
from main import cli
from tracking.record import Record, read_record

COMMAND = (
    "--config=vast_qmix --env-config=warehouse with eta=1/2 env_args.n_agents=8 t_max=1200 batch_size=4 "
    "learner_log_interval=1 test_interval=1200 test_nepisode=1 absolute_nepisode=0 seed=1 assigner="
)


class AlikeAssigner(Assigner):
    """An agent's sub-team is its action modulo K: agents that take one action at a step are together at that step."""

    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        """Actions [B, T, N, 1] -> sub-teams [B, T, N] in 0..K-1, of the last step, too."""
        return Assignment(batch["actions"].squeeze(-1) % self.n_subteams)


REGISTRY["alike"] = AlikeAssigner


def train(command: str) -> Record:
    """Carries out a command of main.py and returns the record of the run; its files are gone afterwards."""
    with TemporaryDirectory() as results:
        status = cli(["main.py", *command.split(), f"local_results_path={results}"])
        if status != 0:
            sys.exit(status)
        return read_record(Path(results) / "sacred" / "1")


def show() -> None:
    """Trains with each assigner and prints what the learner measured of its sub-teams at the last update."""
    for name in ("fixed", "alike"):
        stats = train(COMMAND + name).stats
        sets, active = (stats[key][1][-1] for key in ("division_diversity", "subteams_active_share"))
        print(f"{name}: {sets:.0f} distinct sets of active sub-teams, {active:.0%} of the sub-teams active at a step")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(cli(sys.argv))
    show()
