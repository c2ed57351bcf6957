"""One training in several processes, as torchrun starts them: on the GPUs of a machine, or on several machines.

Every process holds the same networks and shows them its share of each batch. All draw the same random numbers, for the
whole batch, and each keeps those of its own images; gradients are averaged before a network moves. So a run in several
processes is the run that one process would make, but for rounding.

What is done here is nothing, and costs nothing, in a process that is alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError, ProcessLost

Many = TypeVar("Many", np.ndarray, Tensor)

TOLD_BY_THE_LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What is in the environment of a process that torchrun has started, or another launcher that does as it does."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""What asks a process to stop: Ctrl-C, a cluster or a service that wants its machine back, a terminal that closes, and
Ctrl-Break on Windows."""


class World:
    """The processes that train together, as one of them sees them. Made by `joined`; without arguments it is alone.

    All of them have to call the same methods in the same order, but for those that say otherwise. ProcessLost is raised
    where one of the others has ended.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        device: torch.device | str | None = None,
        store: Any = None,
    ):
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.device = device
        """Where this process computes; None leaves it to `train`."""
        self.store = store
        self.stopped = False

    def __deepcopy__(self, memo: dict[int, Any]) -> World:
        return self  # a copy of a network lives in the same world

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.rank == 0

    def alone(self) -> World:
        """This process, when it no longer waits for any other."""
        return World(self.rank, device=self.device)

    def check_batch(self, batch_size: int) -> None:
        """Raises InputError unless a batch can be shared out evenly."""
        if batch_size % self.size:
            nearest = max(1, round(batch_size / self.size)) * self.size
            raise InputError(
                f"A batch of {batch_size} images cannot be shared evenly among {self.size} processes: choose a batch "
                f"size such as {nearest}, or another number of processes."
            )

    def shard(self, values: Many, axis: int = 0) -> Many:
        """This process's part of what belongs to the images of a whole batch, which that axis counts."""
        if self.size == 1:
            return values
        count = values.shape[axis] // self.size
        return values[(slice(None),) * (axis % values.ndim) + (slice(self.rank * count, (self.rank + 1) * count),)]

    def shard_stream(self, random: np.random.Generator) -> np.random.Generator:
        """A stream that draws for the images of a whole batch, when it is asked for this process's in its last axis."""
        return random if self.size == 1 else _Share(random.bit_generator, self)

    # Speaking with one another.

    def any_rank(self, fact: bool) -> bool:
        """Whether the fact holds in any process. Raises KeyboardInterrupt in all, once one was asked to stop."""
        if self.size == 1:
            return fact
        facts = torch.tensor([self.stopped, fact], dtype=torch.int32)
        with _lost():
            torch.distributed.all_reduce(facts, torch.distributed.ReduceOp.MAX)
        stopped, fact = map(bool, facts.tolist())
        if stopped:
            raise KeyboardInterrupt
        return fact

    def broadcast(self, ask: Callable[[], Any]) -> Any:
        """What the first process answers, as JSON keeps it. It alone is asked: the clock is its own, and the files.

        While it thinks it is alone: whatever it calls then waits for no other.
        """
        if self.size == 1:
            return ask()
        answer = b""
        if self.is_main:
            size, self.size = self.size, 1
            try:
                answer = json.dumps(ask()).encode()
            finally:
                self.size = size
        length = torch.tensor([len(answer)])
        with _lost():
            torch.distributed.broadcast(length, 0)
            text = torch.frombuffer(bytearray(answer or int(length)), dtype=torch.uint8)
            torch.distributed.broadcast(text, 0)
        return json.loads(text.numpy().tobytes())

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors by name, on the CPU; those of the others are not looked at."""
        if self.size == 1:
            return dict(tensors)
        shapes = self.broadcast(lambda: {name: [str(t.dtype), list(t.shape)] for name, t in tensors.items()})
        sent = {}
        for name, (dtype, shape) in shapes.items():
            empty = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
            sent[name] = tensors[name].cpu().contiguous() if self.is_main else empty
            with _lost():
                torch.distributed.broadcast(sent[name], 0)
        return sent

    def check_alike(self, facts: Mapping[str, Iterable[bytes]]) -> None:
        """Raises InputError, in all processes, unless they agree on these facts, named in the plural."""
        if self.size == 1:
            return
        for name, parts in facts.items():
            digest = hashlib.sha256()
            for part in parts:
                digest.update(part)
            mine = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
            digests = [torch.empty_like(mine) for _ in range(self.size)]
            with _lost():
                torch.distributed.all_gather(digests, mine)
            other = next((rank for rank, theirs in enumerate(digests) if not theirs.equal(digests[0])), None)
            if other is not None:
                raise InputError(
                    f"Processes 0 and {other} of {self.size} have not the same {name}: start all of them with the "
                    "same command, the same version and a copy of the same data."
                )

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place, the same in each of them bit for bit."""
        if self.size > 1:
            with _lost():
                torch.distributed.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, without a gradient."""
        return tensor if self.size == 1 else self.sum(tensor.detach().clone()).div_(self.size)

    # What keeps networks the same in all processes.

    def synchronise_batch_norm(self, module: nn.Module) -> None:
        """Gives the module's batch norms the statistics of the whole batch, in place of those of one process."""
        if self.size == 1:
            return
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, WholeBatchNorm(child, self))

    @torch.no_grad()
    def average_gradients(self, module: nn.Module) -> None:
        """Makes the module's gradients those of the whole batch, and what else it keeps the mean of all processes'."""
        if self.size == 1:
            return
        self._average([weight.grad for weight in module.parameters() if weight.grad is not None])
        # Most buffers are the same in all. In float64 the mean of equal numbers is that number, for any count of them.
        self._average([buffer for buffer in module.buffers() if buffer.is_floating_point()], torch.float64)

    def _average(self, tensors: list[Tensor], dtype: torch.dtype | None = None) -> None:
        """In place. All in one message, as each costs a round trip however short it is."""
        if not tensors:
            return
        whole = self.sum(torch.cat([tensor.flatten().to(dtype) for tensor in tensors])).div_(self.size)
        parts = whole.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    # Beginning and ending together.

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Lets one process of each machine go before its others, which find what it leaves on the disk."""
        if self.size > 1 and self.local_rank:
            self._wait()
        yield
        if self.size > 1 and not self.local_rank:
            self._wait()

    def _wait(self) -> None:
        with _lost():
            torch.distributed.all_reduce(torch.zeros(1))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keeps what asks this process to stop until the next `any`, where all stop alike, after a whole step."""
        if self.size == 1:
            yield
            return

        def stop(*_: object) -> None:
            self.stopped = True

        self.stopped = False
        with asked_to_stop(stop):
            yield

    def speaks(self) -> bool:
        """Whether this process is the first to report an end, which all may reach alike.

        Any of them may ask, at any time.
        """
        if self.size == 1:
            return True
        try:
            return self.store.add("speakers", 1) == 1
        except RuntimeError:  # the launcher has ended
            return self.is_main


@contextmanager
def asked_to_stop(act: Callable[..., object]) -> Iterator[None]:
    """Calls a function, with the number and the frame of a signal, where this process is asked to stop; afterwards all
    is as it was. What is ignored stays ignored, as under nohup. Only the main thread can do this; in others it does
    nothing."""
    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for which in SIGNALS:
                if signal.getsignal(which) != signal.SIG_IGN:
                    before[which] = signal.signal(which, act)
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, signal.SIG_DFL if handler is None else handler)  # None: not set by Python


@contextmanager
def joined(device: str | None = None) -> Iterator[World]:
    """Joins the processes that this one was started with, and leaves them at the end. Alone, where there are none.

    device: "cuda" or "cpu", the same for all; None for a GPU of its own for each process, where there are any.

    Raises InputError where they cannot train together.
    """
    told = [name for name in TOLD_BY_THE_LAUNCHER if os.environ.get(name)]
    if len(told) < len(TOLD_BY_THE_LAUNCHER) or int(os.environ["WORLD_SIZE"]) == 1:
        yield World(device=device)
        return
    if not torch.distributed.is_available():
        raise InputError("This torch cannot train in several processes: install one with torch.distributed.")
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    local_rank = int(os.environ.get("LOCAL_RANK", rank))
    own = own_device(device, local_rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    # What is said in words goes by gloo, so that no GPU has to come to rest for it.
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    with _lost():
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    yield World(rank, size, local_rank, own, torch.distributed.PrefixStore("gan", store))
    torch.distributed.destroy_process_group()  # after an error others may still wait, and this would wait for them


def own_device(device: str | None, local_rank: int) -> torch.device:
    """The device of the process of that number on its machine. Raises InputError where it has none of its own."""
    wanted = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if wanted.type not in ("cpu", "cuda") or wanted.index is not None:
        raise InputError(f'Several processes train on "cuda", a GPU for each, or on "cpu", not on "{device}".')
    if wanted.type == "cpu":
        return wanted
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"There are {torch.cuda.device_count()} GPUs here, too few for process {local_rank + 1} of this machine: "
            "start as many processes as there are GPUs."
        )
    return torch.device("cuda", local_rank)


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ProcessLost(
            "Another of the processes that train together has ended or cannot be reached: see what it said last."
        ) from error


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch norm (Ioffe & Szegedy 2015) over the images of all processes, which have equally many.

    In place of another, whose weights and statistics it shares. Where it does not train, it is that other.
    """

    def __init__(self, norm: nn.BatchNorm2d, world: World):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self.world = world

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W]; the statistics are computed in float32."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        mine = torch.stack([mean, variance])
        # A row for each process, filled by it alone: their sum has all rows. Squares would be summed less exactly.
        rows = torch.stack([mine if rank == self.world.rank else 0 * mine for rank in range(self.world.size)])
        means, variances = _Sum.apply(rows, self.world).unbind(dim=1)
        mean, variance = means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)
        self._keep(mean.detach(), variance.detach(), self.world.size * x.numel() // x.shape[1])
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        result = (values - mean[:, None, None]) * scale[:, None, None]
        if self.bias is not None:
            result = result + self.bias[:, None, None]
        return result.to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)  # of which images are a sample


class _Sum(torch.autograd.Function):
    """The sum over all processes. What each of them makes of it matters to all, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, world: World) -> Tensor:
        ctx.world = world
        return world.sum(tensor.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient.contiguous(), ctx.world), None


class _Share(np.random.Generator):
    """Draws for the images of all processes, which the last axis counts, and gives those of one."""

    def __init__(self, bit_generator: np.random.BitGenerator, world: World):
        super().__init__(bit_generator)
        self.world = world

    def random(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        return self.world.shard(super().random(self._whole(size), *args, **kwargs), axis=-1)

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        return self.world.shard(super().standard_normal(self._whole(size), *args, **kwargs), axis=-1)

    def _whole(self, size: Any) -> tuple[int, ...]:
        *others, images = np.atleast_1d(size).tolist()
        return (*others, images * self.world.size)
