"""A little of every counter of the kernel, as any program takes it. Prints what could not be had, then OK or SHORT."""

import ctypes
import errno
import mmap
import os
import select
import signal
import socket
import sys
import tempfile
import threading

libc = ctypes.CDLL(None, use_errno=True)
librt = ctypes.CDLL("librt.so.1", use_errno=True)
HERE_NO_QUEUES = os.path.exists("/opt/cellbox/bin")  # Landlock knows no path of them: boxes have none
IPC_PRIVATE, IPC_CREAT, IPC_RMID = 0, 0o1000, 0
MODE = 0o600


def call(r):
    if r == -1:
        raise OSError(ctypes.get_errno(), "call")
    return r


def inotify_instances():
    fds = [call(libc.inotify_init1(0)) for _ in range(8)]
    for fd in fds:
        os.close(fd)


def inotify_watches():
    fd = call(libc.inotify_init1(0))
    with tempfile.TemporaryDirectory() as d:
        for i in range(200):
            path = f"{d}/{i}"
            open(path, "w").close()
            call(libc.inotify_add_watch(fd, path.encode(), 2))
    os.close(fd)


def timers():
    for _ in range(32):
        t = ctypes.c_void_p()
        call(librt.timer_create(1, None, ctypes.byref(t)))
        call(librt.timer_delete(t))


def signals():
    pid = os.fork()
    if pid == 0:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
            for i in range(64):
                call(libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(i)))
            os._exit(0)
        except OSError as e:
            os._exit(e.errno or 99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, "sigqueue")


def terminals():
    for _ in range(4):
        for fd in os.openpty():
            os.close(fd)


def queues():
    if HERE_NO_QUEUES:
        return

    class Attr(ctypes.Structure):
        _fields_ = [(n, ctypes.c_long) for n in ("flags", "maxmsg", "msgsize", "curmsgs", "a", "b", "c", "d")]

    name = f"/probe-{os.getpid()}".encode()
    q = call(librt.mq_open(name, os.O_CREAT | os.O_RDWR, MODE, ctypes.byref(Attr(0, 8, 4096, 0))))
    os.close(q)
    librt.mq_unlink(name)


def sysv():
    call(libc.semctl(call(libc.semget(IPC_PRIVATE, 10, IPC_CREAT | MODE)), 0, IPC_RMID))
    call(libc.msgctl(call(libc.msgget(IPC_PRIVATE, IPC_CREAT | MODE)), IPC_RMID, None))
    call(libc.shmctl(call(libc.shmget(IPC_PRIVATE, 65536, IPC_CREAT | MODE)), IPC_RMID, None))


def pipes():
    fds = [fd for _ in range(20) for fd in os.pipe()]
    for fd in fds:
        os.close(fd)


def epoll_watches():
    e = select.epoll()
    fds = [os.eventfd(0) for _ in range(200)]
    for fd in fds:
        e.register(fd, select.EPOLLIN)
    e.close()
    for fd in fds:
        os.close(fd)


def locked():
    m = mmap.mmap(-1, 1 << 20)
    at = ctypes.addressof(ctypes.c_char.from_buffer(m))
    call(libc.mlock(ctypes.c_void_p(at), ctypes.c_size_t(1 << 20)))
    segment = call(libc.shmget(IPC_PRIVATE, 65536, IPC_CREAT | MODE))
    try:
        call(libc.shmctl(segment, 11, None))  # SHM_LOCK
    finally:
        libc.shmctl(segment, IPC_RMID, None)


def files():
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(500)]
    for fd in fds:
        os.close(fd)


def processes():
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def threads():
    ts = [threading.Thread(target=int) for _ in range(8)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()


def tcp():
    with socket.create_server(("127.0.0.1", 0)) as s, socket.create_connection(s.getsockname(), 5) as c:
        peer = s.accept()[0]
        peer.settimeout(5)
        for _ in range(20):
            c.sendall(bytes(65536))
            left = 65536
            while left:
                left -= len(peer.recv(left))
        peer.close()


def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(5)
        for _ in range(20):
            s.sendto(bytes(16384), s.getsockname())
            s.recv(65536)


def udp6():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        try:
            s.bind(("::1", 0))
        except OSError as e:
            if e.errno == errno.EADDRNOTAVAIL:
                return
            raise
        s.settimeout(5)
        s.sendto(b"x", s.getsockname())
        s.recv(10)


def in_flight():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    socket.send_fds(a, [b"x"], [0, 1, 2])
    for fd in socket.recv_fds(b, 10, 10)[1]:
        os.close(fd)
    a.close()
    b.close()


def shared_memory():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as d:
        for i in range(200):
            with open(f"{d}/{i}", "wb") as f:
                f.write(bytes(4096))


def memfds():
    fds = [os.memfd_create("probe") for _ in range(20)]
    for fd in fds:
        os.write(fd, bytes(65536))
        os.close(fd)


PROBES = [
    inotify_instances,
    inotify_watches,
    timers,
    signals,
    terminals,
    queues,
    sysv,
    pipes,
    epoll_watches,
    locked,
    files,
]
PROBES += [processes, threads, tcp, udp, udp6, in_flight, shared_memory, memfds]


def main():
    short = []
    for probe in PROBES:
        try:
            probe()
        except Exception as e:
            short.append(f"{probe.__name__}: {type(e).__name__} {e}")
    print("; ".join(short))
    print("SHORT" if short else "OK")


if __name__ == "__main__":
    sys.exit(main())
