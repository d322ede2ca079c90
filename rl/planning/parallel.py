"""How a run is spread over processes, read from a config of accelerate."""

from dataclasses import dataclass

from data_gen.files.errors import InputError
from data_gen.files.settings import find_config, read_yaml


@dataclass(frozen=True)
class Parallel:
    """Processes, one per GPU, and what they split among them.

    Attributes:
        name: as it was asked for.
        processes: number of them.
        stage: of ZeRO: 0 splits nothing (DDP), 1 the optimizer's states, 2 gradients too, 3 weights
            too.
        deepspeed: whether an engine holds an fp32 copy of the trained weights.
        offload: what lies in the machine's memory: ``optimizer``, ``param``.
    """

    name: str
    processes: int = 1
    stage: int = 0
    deepspeed: bool = False
    offload: tuple[str, ...] = ()

    def share(self, stage: int) -> int:
        """Among how many processes that is split which is split from ``stage`` on."""
        return self.processes if self.stage >= stage else 1


def parallel_of(named: str) -> Parallel:
    """``one`` (a single process), or ``FILE``, ``NAME`` of a file in configs/accelerate/, or either
    with the number of processes behind a colon: ``zero2:64``.

    Raises:
        InputError: no such file, or one that does not say how it is distributed.
    """
    text, colon, number = named.rpartition(":")
    text = text if colon else named
    if colon and (not number.isdecimal() or not int(number)):
        raise InputError(f"--plan {named}: {number!r} is no number of processes")
    if text == "one":
        if colon and int(number) != 1:
            raise InputError(f"--plan {named}: one is a single process; name a config instead")
        return Parallel(named)
    file = find_config(text)
    if not file.is_file():
        file = find_config(f"configs/accelerate/{text}.yaml")
    if not file.is_file():
        known = sorted(f.stem for f in find_config("configs/accelerate").glob("*.yaml"))
        raise InputError(
            f"--plan {named}: there is no such file, and configs/accelerate/ has {', '.join(known)}"
            f"; or give one"
        )
    config = read_yaml(file)
    processes = int(number) if colon else config.get("num_processes") or 1
    kind = str(config.get("distributed_type", "NO")).upper()
    if kind == "DEEPSPEED":
        engine = config.get("deepspeed_config") or {}
        offload = tuple(
            part
            for part in ("optimizer", "param")
            if engine.get(f"offload_{part}_device", "none") not in (None, "none")
        )
        return Parallel(named, processes, int(engine.get("zero_stage", 0)), True, offload)
    if kind == "FSDP":
        sharding = (config.get("fsdp_config") or {}).get("fsdp_sharding_strategy", "FULL_SHARD")
        stage = {"NO_SHARD": 0, "SHARD_GRAD_OP": 2, "2": 2, "3": 0}.get(str(sharding).upper(), 3)
        return Parallel(named, processes, stage)
    if kind in ("NO", "MULTI_GPU", "MULTI_CPU"):
        return Parallel(named, processes)
    raise InputError(f"--plan {named}: distributed_type {kind} is not known to the plan")
