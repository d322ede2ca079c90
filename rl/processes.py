"""The processes of one run."""

from accelerate import PartialState
from torch.distributed import barrier


def leave_together() -> None:
    """Wait for the others, then close what the processes talk over. The last thing a run does.

    Left open, its threads live on while the interpreter is taken down under them; now and then one
    process then aborts, and the launcher calls a run failed that has saved everything.
    """
    processes = PartialState()
    if processes.num_processes > 1:
        barrier()
        processes.destroy_process_group()
