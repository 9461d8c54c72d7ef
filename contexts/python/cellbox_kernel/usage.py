"""usage_request: what this context and its machine use, from /proc and the box's control group.

The box is the machine that its users see: processors and memory are those of its limits, as the gateway tells them or
the control group shows them.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
GROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60

# What was seen last, for the shares since then.
_last_kernel: tuple[float, float] | None = None
_last_host: tuple[float, float] | None = None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _memory_limit() -> int | None:
    """Bytes that the control group allows (v2, else v1); None = no limit that can be seen."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(GROUPS / name)
        if limit is not None and limit < UNLIMITED:
            return limit
    return None


def _memory_used() -> int | None:
    for name in ("memory.current", "memory/memory.usage_in_bytes"):
        used = _number(GROUPS / name)
        if used is not None:
            return used
    return None


def cpu_count(told: float = 0) -> int:
    """Processors that this context may use at once, at least one."""
    count = len(os.sched_getaffinity(0))
    if told > 0:
        return min(count, max(1, round(told)))
    try:
        quota, period = (GROUPS / "cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        v1 = _number(GROUPS / "cpu/cpu.cfs_quota_us"), _number(GROUPS / "cpu/cpu.cfs_period_us")
        if v1[0] and v1[1] and v1[0] > 0:
            count = min(count, max(1, round(v1[0] / v1[1])))
    return count


def _processes() -> dict[int, tuple[int, float, int]]:
    """pid: (parent, seconds of processor time, resident bytes) of every process that can be seen."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        seconds = (int(fields[11]) + int(fields[12])) / TICK
        found[int(entry.name)] = int(fields[1]), seconds, int(fields[21]) * PAGE
    return found


def _family(processes: dict[int, tuple[int, float, int]]) -> list[int]:
    """This process and all that descend from it."""
    family = [os.getpid()]
    for pid in family:
        family += [child for child, (parent, _, _) in processes.items() if parent == pid]
    return family


def _kernel() -> tuple[float, int]:
    """Processor time since the last question in percent of one processor, and resident bytes."""
    global _last_kernel
    processes = _processes()
    members = [processes[pid] for pid in _family(processes) if pid in processes]
    now, seconds = time.monotonic(), sum(m[1] for m in members)
    before, _last_kernel = _last_kernel, (now, seconds)
    share = 0.0
    if before is not None and now > before[0]:
        share = max(0.0, 100 * (seconds - before[1]) / (now - before[0]))
    return round(share, 1), sum(m[2] for m in members)


def _host_share() -> float | None:
    """Busy share of all processors since the last question; None the first time."""
    global _last_host
    try:
        with Path("/proc/stat").open() as f:
            ticks = [int(n) for n in f.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    total, idle = float(sum(ticks)), float(ticks[3] + ticks[4])
    before, _last_host = _last_host, (total, idle)
    if before is None or total <= before[0]:
        return None
    return round(100 * (1 - (idle - before[1]) / (total - before[0])), 1)


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}


def _virtual_memory(told: int = 0) -> dict[str, Any]:
    info = _meminfo()
    total, available = info["MemTotal"], info.get("MemAvailable", info.get("MemFree", 0))
    limit = told or _memory_limit()
    if limit and limit < total:
        used = _memory_used()
        if used is None:  # no control group to be seen: what all processes of the box hold
            used = sum(resident for _, _, resident in _processes().values())
        available = min(available, max(0, limit - used))
        total = limit
    used = total - available
    return {
        "total": total,
        "available": available,
        "percent": round(100 * used / total, 1) if total else 0.0,
        "used": used,
        "free": min(info.get("MemFree", 0), available),
        "active": info.get("Active", 0),
        "inactive": info.get("Inactive", 0),
        "buffers": info.get("Buffers", 0),
        "cached": info.get("Cached", 0) + info.get("SReclaimable", 0),
        "shared": info.get("Shmem", 0),
        "slab": info.get("Slab", 0),
    }


def _told(options: dict[str, Any], name: str) -> float:
    value = options.get(name)
    return value if isinstance(value, (int, float)) and value > 0 else 0


def answer(options: dict[str, Any]) -> dict[str, Any]:
    """A usage_reply: bytes and percent, as ipykernel gives them. ``options``: the box's limits, memory and cpus."""
    share, memory = _kernel()
    return {
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "kernel_cpu": share,
        "kernel_memory": memory,
        "cpu_count": cpu_count(_told(options, "cpus")),
        "host_cpu_percent": _host_share(),
        "host_virtual_memory": _virtual_memory(int(_told(options, "memory"))),
    }
