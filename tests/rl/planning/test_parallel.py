"""How a run is spread, as the configs of accelerate say."""

import pytest

from data_gen.files.errors import InputError
from rl.planning.parallel import Parallel, parallel_of


@pytest.mark.parametrize(
    ("named", "processes", "stage", "deepspeed"),
    [
        ("one", 1, 0, False),
        ("zero2", 8, 2, True),
        ("zero3:64", 64, 3, True),
        ("multi_gpu:2", 2, 0, False),
        ("configs/accelerate/cpu.yaml", 1, 0, False),
        ("multi_node", 16, 2, True),
    ],
)
def test_of_a_config(named, processes, stage, deepspeed):
    assert parallel_of(named) == Parallel(named, processes, stage, deepspeed)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("distributed_type: FSDP\nnum_processes: 4\n", Parallel("F", 4, 3)),
        (
            "distributed_type: FSDP\nnum_processes: 4\n"
            "fsdp_config: {fsdp_sharding_strategy: SHARD_GRAD_OP}\n",
            Parallel("F", 4, 2),
        ),
        (
            "distributed_type: DEEPSPEED\nnum_processes: 2\n"
            "deepspeed_config: {zero_stage: 3, offload_optimizer_device: cpu}\n",
            Parallel("F", 2, 3, True, ("optimizer",)),
        ),
    ],
)
def test_of_other_files(tmp_path, text, want):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    found = parallel_of(str(file))
    assert (found.processes, found.stage, found.deepspeed, found.offload) == (
        want.processes,
        want.stage,
        want.deepspeed,
        want.offload,
    )
    assert found.share(3) == (want.processes if want.stage >= 3 else 1)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("zero9", "there is no such file, and configs/accelerate/ has cpu"),
        ("zero2:none", "'none' is no number of processes"),
        ("zero2:0", "'0' is no number of processes"),
        ("one:8", "one is a single process"),
    ],
)
def test_mistakes(named, said):
    with pytest.raises(InputError, match=said):
        parallel_of(named)


def test_a_kind_that_the_plan_does_not_know(tmp_path):
    (tmp_path / "tpu.yaml").write_text("distributed_type: TPU\n")
    with pytest.raises(InputError, match="distributed_type TPU is not known"):
        parallel_of(str(tmp_path / "tpu.yaml"))
