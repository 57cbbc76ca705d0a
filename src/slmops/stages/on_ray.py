"""Workers on a Ray cluster: this process is the first, the others are actors on whatever machines have room.

One that dies takes the step with it: all others are given up, as many are started anew, and the training goes on from
its checkpoint. Knows no model.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

from slmops.core.errors import SlmopsError, need
from slmops.stages.engine import EngineConfig, Follow, Learned

_LOSSES = 10  # in one training: whoever loses more has another trouble
_SILENCE = timedelta(minutes=30)  # a machine that is gone without a word is waited for so long


class Follower:
    """What runs in an actor."""

    def follow(self, meeting: str, rank: int, count: int, follow: Follow) -> None:
        with _joined(meeting, rank, count):
            follow()


def learn_on_ray(
    engine: EngineConfig, learn: Callable[[], Learned], follow: Follow, threads: int, say: Callable[[str], None]
) -> Learned:
    """What `learn` returns, while actors do `follow`, each on as many cores as it has threads.

    Raises:
        SlmopsError: a worker fails by itself, or too many are lost.
    """
    ray = need("ray", "ray")
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that we start tells nobody
        own: dict[str, Any] = {"num_cpus": engine.workers * threads, "include_dashboard": False}
        ray.init(engine.address, log_to_driver=False, **(own if engine.address == "local" else {}))
    actor_of = ray.remote(Follower).options(scheduling_strategy="SPREAD", num_cpus=threads)
    for _ in range(_LOSSES):
        actors = [actor_of.remote() for _ in range(1, engine.workers)]
        meeting = f"tcp://{ray.util.get_node_ip_address()}:{_free_port()}"
        tasks = [actor.follow.remote(meeting, rank, engine.workers, follow) for rank, actor in enumerate(actors, 1)]
        try:
            with _joined(meeting, 0, engine.workers):
                return learn()
        except RuntimeError as error:  # what torch.distributed raises when a connection ends
            say(_loss(tasks, error))
        finally:
            for actor in actors:
                ray.kill(actor)
    raise SlmopsError(f"{_LOSSES} workers were lost in one training", where="engine", remedy="see Ray's own log")


@contextmanager
def _joined(meeting: str, rank: int, count: int) -> Iterator[None]:
    distributed = need("torch", "train").distributed
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count, timeout=_SILENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _loss(tasks: list[Any], error: RuntimeError) -> str:
    """What to say of a worker that is gone; if none is, or one failed by itself, that is the error."""
    ray = need("ray", "ray")
    done, _ = ray.wait(tasks, num_returns=len(tasks), timeout=30)  # the survivors hear of it a moment later
    for task in done:
        try:
            ray.get(task)
        except ray.exceptions.RayActorError:
            return "warning: a worker was lost; going on from the checkpoint"
        except ray.exceptions.RayTaskError as failure:
            if not isinstance(failure.cause, RuntimeError):
                raise SlmopsError(f"a worker failed: {failure.cause}", where="engine") from failure
    raise error


def _free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("", 0))
        return int(listening.getsockname()[1])
