"""Capabilities, setuid programs, identities."""

import os, shutil, subprocess
from attack import *

status = dict(l.split(":\t", 1) for l in read("/proc/self/status").decode().splitlines() if ":\t" in l)
for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
    check(f"{field} is empty", int(status[field], 16) == 0, status[field])
# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot audit_write setfcap
ALLOWED = sum(1 << c for c in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 29, 31))
check("the bounding set is what root in a container needs", int(status["CapBnd"], 16) & ~ALLOWED == 0, status["CapBnd"])
check("no_new_privs", status["NoNewPrivs"] == "1", status["NoNewPrivs"])
check("seccomp filter", status["Seccomp"] == "2", status["Seccomp"])
check(
    "an ordinary user",
    os.getresuid() == (1000,) * 3 and os.getresgid() == (1000,) * 3 and os.getgroups() == [1000],
    (os.getresuid(), os.getresgid(), os.getgroups()),
)
refused("setuid 0", lambda: os.setuid(0), errno.EPERM)
refused("setresgid 0", lambda: os.setresgid(0, 0, 0), errno.EPERM)
refused("setgroups", lambda: os.setgroups([0]), errno.EPERM)
refused("give a file away", lambda: os.chown(shutil.copy("/bin/sh", "/tmp/sh0"), 0, 0), errno.EPERM)
refused(
    "file capabilities",
    lambda: os.setxattr("/tmp/sh0", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")),
    errno.EPERM,
)
refused("no_new_privs off", lambda: call(libc.prctl, 38, 0, 0, 0, 0), errno.EINVAL)
refused("raise ambient", lambda: call(libc.prctl, 47, 2, 21, 0, 0), errno.EPERM)
refused("securebits", lambda: call(libc.prctl, 28, 1, 0, 0, 0), errno.EPERM)
setuid = [
    p
    for p in ("/bin/su", "/usr/bin/passwd", "/usr/bin/sudo", "/bin/mount", "/usr/bin/newuidmap", "/usr/bin/chsh")
    if os.path.exists(p) and os.stat(p).st_mode & 0o4000
]
probe = "import os; print(os.geteuid(), open('/proc/self/status').read().split('CapEff:\\t')[1][:16])"
out = subprocess.run(["python3", "-c", probe], capture_output=True, text=True).stdout
check("an executed program stays ordinary", out == "1000 0000000000000000\n", out)
for p in setuid:
    child = subprocess.Popen([p], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        euid = read(f"/proc/{child.pid}/status").decode().split("Uid:\t")[1].split("\n")[0].split()
        check(f"{p} does not become root", set(euid) == {"1000"}, euid)
    except (OSError, IndexError):
        pass
    child.kill()
    child.wait()
sudo = subprocess.run(["sudo", "-n", "id", "-u"], capture_output=True, text=True) if shutil.which("sudo") else None
check("sudo gives no root", sudo is None or (sudo.returncode != 0 and sudo.stdout.strip() != "0"))
works("own setuid bit", lambda: os.chmod("/tmp/sh0", 0o4755))
done()
