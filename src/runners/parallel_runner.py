"""Several environments at a time, each in a worker process."""

from __future__ import annotations

import random
import signal
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import torch as th

from components.episode_buffer import EpisodeBatch
from envs import REGISTRY as env_REGISTRY
from runners.base import Runner, observe, outcome
from utils.errors import UserError
from utils.logging import Logger

CLOSE_TIMEOUT = 5  # seconds that a worker gets to close its environment before it is killed


class ParallelRunner(Runner):
    """Steps ``batch_size_run`` environments in worker processes; a rollout is one episode of each.

    Every worker's environment has a seed of its own, derived from ``env_args.seed`` by `worker_seed`.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        if self.batch_size < 1:
            raise UserError(f"batch_size_run: expected at least 1, got {self.batch_size}")
        self.workers: list[Worker] = []
        try:
            for i in range(self.batch_size):
                self.workers.append(Worker(i, _make_env(args, i), worker_seed(args.seed, i)))
            self.env_info = self.workers[0].ask("get_env_info")
        except BaseException:
            self.close_env()
            raise
        self.episode_limit = self.env_info["episode_limit"]

    def get_env_info(self) -> dict[str, Any]:
        """The environments' sizes."""
        return self.env_info

    def save_replay(self) -> None:
        """Lets the first environment write its last episode to a file."""
        self.workers[0].ask("save_replay")

    def close_env(self) -> None:
        """Ends all workers."""
        for worker in self.workers:
            worker.close()

    def reset(self) -> list[dict[str, Any]]:
        """Starts new episodes and an empty batch; returns the first observations."""
        self.batch = self._new_batch()
        return self._ask_all(self.workers, "reset", [()] * self.batch_size)

    @th.no_grad()
    def run(self, test_mode: bool = False) -> EpisodeBatch:
        """Plays one episode in every environment; t_env counts their steps unless it is a test.

        Returns:
            The episodes, [batch_size_run, episode_limit + 1]; the last filled step of each holds its final state.
        """
        for i, observation in enumerate(self.reset()):
            self.batch.update(observation, bs=i, ts=0)
        self.mac.init_hidden(batch_size=self.batch_size)
        returns, lengths = np.zeros(self.batch_size), np.zeros(self.batch_size, dtype=int)
        infos: list[dict[str, Any]] = [{} for _ in range(self.batch_size)]
        ended = np.zeros(self.batch_size, dtype=bool)
        acting, t = list(range(self.batch_size)), 0
        while True:
            # An environment that has just ended acts once more: its final state gets actions, as in the episode runner.
            actions = dict(zip(acting, self._act(t, acting, test_mode), strict=True))
            acting = [i for i in acting if not ended[i]]
            if not acting:
                break
            answers = self._ask_all([self.workers[i] for i in acting], "step", [(actions[i],) for i in acting])
            for i, (reward, ended[i], infos[i], observation) in zip(acting, answers, strict=True):
                self.batch.update(outcome(reward, ended[i], infos[i]), bs=i, ts=t)
                self.batch.update(observation, bs=i, ts=t + 1)
                returns[i] += reward
                lengths[i] += 1
            t += 1

        if not test_mode:
            self.t_env += int(lengths.sum())
        stats = self.test_stats if test_mode else self.train_stats
        for i in range(self.batch_size):
            stats.add(returns[i], int(lengths[i]), infos[i])
        self._log_if_due(test_mode)
        return self.batch

    def _act(self, t: int, acting: list[int], test_mode: bool) -> np.ndarray:
        """Actions [len(acting), N] at step t, also written into the batch."""
        actions = self.mac.select_actions(self.batch, t_ep=t, t_env=self.t_env, bs=acting, test_mode=test_mode)
        self.batch.update({"actions": actions.unsqueeze(1)}, bs=acting, ts=t, mark_filled=False)
        return actions.cpu().numpy()

    @staticmethod
    def _ask_all(workers: list[Worker], command: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        """The answers of several workers that work at the same time."""
        for worker, argument in zip(workers, arguments, strict=True):
            worker.send(command, *argument)
        return [worker.receive() for worker in workers]


class Worker:
    """An environment in a process of its own.

    Args:
        number: for messages.
        make_env: builds the environment, in the worker.
        seed: of the worker's global generators, for environments that draw from these.
    """

    def __init__(self, number: int, make_env: Callable[[], Any], seed: int) -> None:
        self.number = number
        self.connection, remote = Pipe()
        self.process = Process(target=_work, args=(self.connection, remote, make_env, seed), daemon=True)
        self.process.start()
        remote.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Sends a command and waits for the answer."""
        self.send(command, *arguments)
        return self.receive()

    def send(self, command: str, *arguments: Any) -> None:
        """Sends a command: reset, step, get_env_info, save_replay or close."""
        try:
            self.connection.send((command, arguments))
        except OSError:
            pass  # it has ended; `receive` tells why

    def receive(self) -> Any:
        """The answer to the oldest command without one.

        Raises:
            UserError: the worker found a mistake of the user's.
            RuntimeError: the environment failed, or the process died; says which worker, and why.
        """
        try:
            failure, answer = self.connection.recv()
        except (EOFError, OSError):
            self._report_death()
        if isinstance(failure, UserError):
            raise failure
        if failure is not None:
            raise RuntimeError(f"environment worker {self.number} failed:\n{failure}")
        return answer

    def _report_death(self) -> NoReturn:
        self.process.join(timeout=5)
        raise RuntimeError(f"environment worker {self.number} died (exit code {self.process.exitcode})")

    def close(self) -> None:
        """Closes the environment and ends the process; safe to call twice and on a dead worker."""
        try:
            self.connection.send(("close", ()))
            while self.connection.poll(CLOSE_TIMEOUT):
                self.connection.recv()  # an answer that nobody read would keep a worker from hearing the command
        except (EOFError, OSError):
            pass  # it is gone
        self.process.join(CLOSE_TIMEOUT)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def worker_seed(seed: int, number: int) -> int:
    """The seed of worker ``number``.

    The first keeps the run's, as the episode runner does; those of the others are hashed, so that the workers of runs
    with neighbouring seeds share none.
    """
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _make_env(args: SimpleNamespace, number: int) -> Callable[[], Any]:
    env_args = dict(args.env_args)
    if env_args.get("seed") is not None:
        env_args["seed"] = worker_seed(env_args["seed"], number)
    return partial(env_REGISTRY[args.env], **env_args)


def _work(parents_end: Connection, connection: Connection, make_env: Callable[[], Any], seed: int) -> None:
    """The worker process: carries out commands until told to close, or until the parent is gone."""
    parents_end.close()  # else this copy of it would hide the parent's death
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    env = None
    try:
        env = make_env()
        while True:
            command, arguments = connection.recv()
            if command == "close":
                break
            connection.send((None, _carry_out(env, command, arguments)))
    except EOFError:
        pass
    except UserError as error:
        connection.send((error, None))
    except Exception:
        connection.send((traceback.format_exc(), None))
    finally:
        if env is not None:
            env.close()


def _carry_out(env: Any, command: str, arguments: tuple[Any, ...]) -> Any:
    if command == "reset":
        env.reset()
        return observe(env)
    if command == "step":
        reward, terminated, info = env.step(*arguments)
        return reward, terminated, info, observe(env)
    return getattr(env, command)()
