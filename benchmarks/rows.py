"""What a row of the tables measures; light, so that the process that starts the measurements stays small."""

from __future__ import annotations

from dataclasses import dataclass

TITLES = {"warehouse": "Warehouse", "battle": "Battle", "gaussian_squeeze": "GaussianSqueeze"}


@dataclass(frozen=True)
class Row:
    """One measurement, made in a process of its own.

    Attributes:
        kind: which measurement; a key of `measure.MEASUREMENTS`.
        env: name of a file in src/config/envs.
        n_agents: N.
        alg: name of a file in src/config/algs; empty where only the environment is measured.
        agent: the agents' network.
        threads: PyTorch's threads.
        assigner: X, of algorithms with sub-teams; empty: as shipped.
        newest: episodes that an assigner learns from in an update.
        parallel: environments at a time.
    """

    kind: str
    env: str
    n_agents: int
    alg: str = ""
    agent: str = "rnn"
    threads: int = 1
    assigner: str = ""
    newest: int = 1
    parallel: int = 1

    @property
    def domain(self) -> str:
        """The paper's name of the domain and its size."""
        return f"{TITLES[self.env]}[{self.n_agents}]"

    @property
    def name(self) -> str:
        """What the row is called in progress lines and by ``--only``; different for every row."""
        parts = [self.kind, self.domain]
        if self.alg:
            parts += [self.alg, self.agent, f"threads={self.threads}"]
        if self.assigner:
            parts += [self.assigner, f"newest={self.newest}"]
        if self.kind == "protocol":
            parts += [f"parallel={self.parallel}"]
        return " ".join(parts)


DOMAINS = (
    *(("warehouse", 4), ("warehouse", 16), ("battle", 20), ("battle", 80)),
    *(("gaussian_squeeze", 200), ("gaussian_squeeze", 800)),
)


def all_rows() -> list[Row]:
    """The rows of all tables, in their order."""
    rows = [Row("env", *domain) for domain in DOMAINS]
    for domain in DOMAINS:
        for agent in ("ff", "rnn"):
            rows += [Row("epoch", *domain, "vast_qtran_ac", agent, threads) for threads in (1, 2)]
        rows.append(Row("epoch", *domain, "vast_qtran"))
    rows += [Row("train", "warehouse", 16, alg) for alg in ("qmix", "qtran")]
    for domain in (("warehouse", 16), ("battle", 80)):
        rows.append(Row("subteams", *domain, "qmix"))
        rows += [Row("subteams", *domain, "vast_qmix", assigner=assigner) for assigner in ("fixed", "spatial")]
        rows += [Row("subteams", *domain, "vast_qmix", assigner="metagrad", newest=newest) for newest in (1, 32)]
    rows += [Row("protocol", "warehouse", 16, "qmix", parallel=parallel) for parallel in (1, 8)]
    return rows
