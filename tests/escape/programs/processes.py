"""Only the box's own processes exist."""

import os, subprocess
from attack import *

child = subprocess.Popen(["sleep", "60"])
pids = sorted(int(p) for p in os.listdir("/proc") if p.isdigit())
check("own child is seen", child.pid in pids, pids)
check("few processes, small numbers", len(pids) < 20 and max(pids) < 10000, pids)
for pid in pids:
    stat = read(f"/proc/{pid}/status").decode()
    uid = int(stat.split("Uid:\t")[1].split()[0])
    check(f"uid of {pid} is of this box", uid in (0, 1000), uid)
    comm = stat.split("Name:\t")[1].split("\n")[0]
    check(f"{pid} is no server process", comm not in ("cbx-boxd", "cbx-gateway", "cbx-zygote", "cbx-egress"), comm)
    check("one namespace level is seen", len(stat.split("NSpid:\t")[1].split("\n")[0].split()) == 1)
check("parent of all is init", os.stat("/proc/1").st_uid == 0)
for pid in FACTS["pids"]:
    refused(f"signal to host pid {pid}", lambda: os.kill(pid, 0), errno.ESRCH)
    refused(f"/proc of host pid {pid}", lambda: os.stat(f"/proc/{pid}"), errno.ENOENT)
refused("priority of host pids", lambda: os.setpriority(os.PRIO_PROCESS, FACTS["pids"][0], 19), errno.ESRCH)
child.kill()
child.wait()
done()
