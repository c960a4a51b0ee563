"""A mixer of your own, flat and under VAST, without an edit of src.

    bash run.sh python examples/own_mixer.py

trains it for a few updates in both forms, and prints what each was built for and how the loss went. With words behind
it the file is your own main.py, which knows your mixer:

    bash run.sh python examples/own_mixer.py --config=vast_qmix --env-config=battle with subteam_mixer=share t_max=20000
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import torch as th
from torch import Tensor, nn

from main import cli
from modules.mixers import REGISTRY
from tracking.record import Record, read_record

SHORT = (
    "env_args.n_agents=8 t_max=600 batch_size=4 learner_log_interval=1 "
    "test_interval=600 test_nepisode=1 absolute_nepisode=0 seed=1"
)
FLAT = f"--config=vdn --env-config=warehouse with mixer=share {SHORT}"
VAST = f"--config=vast_qmix --env-config=warehouse with subteam_mixer=share eta=1/2 {SHORT}"


class ShareMixer(nn.Module):
    """Q_tot = n sum_i w_i(s) Q_i over n values, with positive weights w that sum to one.

    It knows nothing of sub-teams: under VAST it is built for K "agents", and its values are the sub-teams' sums.
    """

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__()
        self.n_agents = args.n_agents
        self.shares = nn.Linear(args.state_shape, args.n_agents)
        print(f"ShareMixer: built for {self.n_agents} values")

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Values [B, T, n] and states [B, T, S] -> Q_tot [B, T, 1]."""
        shares = th.softmax(self.shares(states), dim=-1)
        return self.n_agents * (shares * agent_qs).sum(dim=-1, keepdim=True)


REGISTRY["share"] = ShareMixer


def train(command: str) -> Record:
    """Carries out a command of main.py and returns the record of the run; its files are gone afterwards."""
    with TemporaryDirectory() as results:
        status = cli(["main.py", *command.split(), f"local_results_path={results}"])
        if status != 0:
            sys.exit(status)
        return read_record(Path(results) / "sacred" / "1")


def show() -> None:
    """Trains both forms and prints their losses."""
    for form, record in (("flat", train(FLAT)), ("VAST", train(VAST))):
        _, losses = record.stats["loss"]
        print(f"{form}: {len(losses)} updates, loss {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(cli(sys.argv))
    show()
