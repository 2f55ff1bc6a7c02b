"""What all the scripts do in the same way.

It is imported before PyTorch, whose threads read a variable at their start: how often a thread that waits for the others looks
for work before it sleeps. Beside a busy process a thread that looks takes the core that the others need (benchmarks/busy.md).
"""

import os
import time
from pathlib import Path

SPINS = "GOMP_SPINCOUNT"  # of GCC's OpenMP, which PyTorch brings for Linux: 300,000 if unset


def is_busy(moments: int = 5) -> bool:
    """Return whether other processes run at all `moments`, and the threads of this one would leave them no core."""
    try:
        cores = len(os.sched_getaffinity(0))
        threads = int(os.environ.get("OMP_NUM_THREADS", cores))
        for _ in range(moments):
            running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0]) - 1  # this one
            if running < 1 or running + threads <= os.cpu_count():
                return False
            time.sleep(0.005)
    except (AttributeError, OSError, ValueError):  # not Linux
        return False
    return True


THREADS_SLEEP = SPINS not in os.environ and "OMP_WAIT_POLICY" not in os.environ and is_busy()
if THREADS_SLEEP:
    os.environ[SPINS] = "0"
