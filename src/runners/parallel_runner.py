"""Several environments at a time, each in a worker process."""

from __future__ import annotations

import pickle
import random
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np

from components.generators import GlobalGenerators
from envs.checks import is_over
from envs.state import env_state, load_env_state
from runners.base import observe, outcome
from runners.batch_runner import BatchRunner, BoolArray, FloatArray, IntArray, env_maker, env_seed
from utils.errors import UserError
from utils.logging import Logger

CLOSE_TIMEOUT = 5  # seconds that a worker gets to close its environment before it is killed


class ParallelRunner(BatchRunner):
    """Steps ``batch_size_run`` environments in worker processes; a rollout is one episode of each.

    Every worker's environment has a seed of its own, derived from ``env_args.seed`` by `env_seed`.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        self.workers: list[Worker] = []
        try:
            for i in range(self.batch_size):
                self.workers.append(Worker(i, env_maker(args, i), env_seed(args.seed, i)))
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

    def env_states(self) -> list[dict[str, Any]]:
        """The state of each environment, and of the global generators of its worker."""
        return [pickle.loads(state) for state in self._ask_all(self.workers, "get_state", [()] * self.batch_size)]

    def load_env_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Gives environments and workers their states back."""
        self._ask_all(self.workers, "load_state", [(pickle.dumps(state),) for state in states])

    def _start(self) -> None:
        self._infos: list[dict[str, Any]] = [{} for _ in self.workers]
        self._record(self._ask_all(self.workers, "reset", [()] * self.batch_size), np.arange(self.batch_size), 0)

    def _advance(self, acting: IntArray, actions: IntArray, t: int) -> tuple[FloatArray, BoolArray]:
        answers = self._ask_all([self.workers[i] for i in acting], "step", [(chosen,) for chosen in actions])
        rewards, flags, infos, observations = zip(*answers, strict=True)
        over = [is_over(flag, int(i)) for i, flag in zip(acting, flags, strict=True)]
        self._record([outcome(*result) for result in zip(rewards, over, infos, strict=True)], acting, t)
        self._record(observations, acting, t + 1)
        for i, info in zip(acting, infos, strict=True):
            self._infos[i] = info
        return np.array(rewards, dtype=np.float64), np.array(over)

    def _last_info(self, number: int) -> dict[str, Any]:
        return self._infos[number]

    def _record(self, data: Sequence[dict[str, Any]], acting: IntArray, t: int) -> None:
        """Writes what several environments gave for step t, in one go for each key."""
        joined = {key: [[entry[key]] for entry in data] for key in data[0]}
        self.batch.update(joined, bs=acting, ts=t)

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
        """Sends a command: reset, step, get_env_info, save_replay, get_state, load_state or close."""
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
    if command == "get_state":
        # As bytes: a pipe would pass tensors on as shared memory, which lives only as long as the worker.
        return pickle.dumps({"env": env_state(env), "generators": GlobalGenerators().state_dict()})
    if command == "load_state":
        state = pickle.loads(*arguments)
        load_env_state(env, state["env"])
        return GlobalGenerators().load_state_dict(state["generators"])
    return getattr(env, command)()
