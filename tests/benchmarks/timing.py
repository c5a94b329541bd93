"""How long a call takes."""

import time


def seconds(call, repeat=1):
    """Processor time of the fastest of some calls, and the answer."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        found = call()
        times.append(time.process_time() - start)
    return min(times), found
