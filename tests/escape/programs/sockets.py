"""Socket families: the four that programs need, TCP/UDP within the box, nothing that leaves the network namespace."""

import errno, socket
from attack import *

ALLOWED = {1, 2, 10, 16}
for family in range(64):
    if family in ALLOWED:
        continue
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        refused(
            f"socket family {family} type {int(kind)}",
            lambda: call(libc.socket, family, int(kind), 0),
            errno.EAFNOSUPPORT,
        )
    pair = (ctypes.c_int * 2)()
    refused(f"socketpair family {family}", lambda: call(libc.socketpair, family, 1, 0, pair), errno.EAFNOSUPPORT)
refused(
    "AF_VSOCK with high bits",
    lambda: call(libc.syscall, 41, ctypes.c_ulong((1 << 32) | 40), 1, 0),
    errno.EAFNOSUPPORT,
    errno.ENOSYS,
)
refused("family 64", lambda: call(libc.socket, 64, 1, 0), errno.EAFNOSUPPORT, errno.ENOSYS)
for family in (socket.AF_INET, socket.AF_INET6):
    for proto in (socket.IPPROTO_ICMP, socket.IPPROTO_RAW, socket.IPPROTO_TCP):
        refused(f"raw socket {family} {proto}", lambda: socket.socket(family, socket.SOCK_RAW, proto), errno.EPERM)
    for proto in (33, 132, 262):  # DCCP, SCTP, MPTCP: each would load a module of the host's kernel
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_RDM, 6):
            refused(
                f"protocol {proto} type {int(kind)}",
                lambda: call(libc.socket, int(family), int(kind), proto),
                errno.EPROTONOSUPPORT,
                errno.ESOCKTNOSUPPORT,
            )
for proto in (6, 8, 9, 12, 14, 20):  # xfrm, selinux, audit, netfilter, dnrt, rdma
    refused(f"netlink {proto}", lambda: call(libc.socket, 16, 3, proto), errno.EPROTONOSUPPORT)
works("netlink route", lambda: socket.socket(16, socket.SOCK_RAW, 0))

a, b = socket.socketpair()
a.send(b"x")
check("AF_UNIX pair must work", b.recv(1) == b"x")
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), 5)
peer, _ = server.accept()
client.send(b"y")
check("TCP over lo must work", peer.recv(1) == b"y")
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
u.sendto(b"z", u.getsockname())
check("UDP over lo must work", u.recv(1) == b"z")
done()
