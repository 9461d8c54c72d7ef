"""The network: lo and nothing else; no way to the host, its services or its abstract sockets."""

import os, socket, struct, time
from attack import *


def connect(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(20)
    with s:
        s.connect(address)


def quick(what, function, *errnos):
    start = time.monotonic()
    refused(what, function, *errnos)
    check(what + " at once", time.monotonic() - start < 5, time.monotonic() - start)


for address in (("1.1.1.1", 443), ("10.0.0.1", 80), ("169.254.169.254", 80), ("192.168.0.1", 80), ("172.17.0.1", 80)):
    quick(f"connect {address}", lambda: connect(socket.AF_INET, address), errno.ENETUNREACH)
for address in (("2606:4700::1111", 443), ("fe80::1", 80), ("::ffff:1.1.1.1", 80), ("fd00:ec2::254", 80)):
    quick(
        f"connect {address}",
        lambda: connect(socket.AF_INET6, address),
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EINVAL,
    )
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for address in (("8.8.8.8", 53), ("255.255.255.255", 9), ("224.0.0.1", 9)):
    quick(f"datagram {address}", lambda: u.sendto(b"x", address), errno.ENETUNREACH, errno.EACCES)
start = time.monotonic()
try:
    socket.getaddrinfo("example.com", 80)
    check("a name was resolved", False)
except socket.gaierror as e:
    check("names fail", e.errno in (socket.EAI_AGAIN, socket.EAI_NONAME, socket.EAI_FAIL), e)
check("names fail at once", time.monotonic() - start < 5, time.monotonic() - start)
for host, port in FACTS["listeners"]:
    quick(
        f"service of the host {host}:{port}",
        lambda: connect(socket.AF_INET, (host, port)),
        errno.ECONNREFUSED,
        errno.ENETUNREACH,
    )
for path in ("\0" + FACTS["abstract"],):
    quick("abstract socket of the host", lambda: connect(socket.AF_UNIX, path), errno.ECONNREFUSED)
quick("named socket of the host", lambda: connect(socket.AF_UNIX, FACTS["named"]), errno.ENOENT)
unix = read("/proc/net/unix").decode()
check("the host's sockets are not listed", FACTS["abstract"] not in unix)
check("only lo", [n for _, n in socket.if_nameindex()] == ["lo"], socket.if_nameindex())
routes = read("/proc/net/route").decode().splitlines()[1:]
check("no routes", routes == [], routes)


def netlink(kind, flags, payload):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    with s:
        s.bind((0, 0))
        s.send(struct.pack("=IHHII", 16 + len(payload), kind, flags | 5, 1, 0) + payload)
        data = s.recv(65536)
        if struct.unpack_from("=H", data, 4)[0] == 2:
            code = -struct.unpack_from("=i", data, 16)[0]
            if code:
                raise OSError(code, "netlink")
        return True


ifinfo = struct.pack("=BxHiII", 0, 0, 1, 0, 1)
link = struct.pack("=HH", 8, 3) + b"eth\0"
refused("set lo down", lambda: netlink(16, 0, ifinfo), errno.EPERM)
kind = b"dummy\0\0\0"
info = struct.pack("=HH", 4 + 6 + 0, 1) + b"dummy\0\0\0"
refused(
    "new interface",
    lambda: netlink(16, 0x600, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + struct.pack("=HH", 4 + len(info), 18) + info),
    errno.EPERM,
)
addr = struct.pack("=BBBBi", 2, 8, 0, 0, 1) + struct.pack("=HH4s", 8, 2, socket.inet_aton("127.9.9.9"))
refused("new address", lambda: netlink(20, 0x600, addr), errno.EPERM)
route = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 4, 0, 1, 0) + struct.pack("=HHi", 8, 4, 1)
refused("new route", lambda: netlink(24, 0x600, route), errno.EPERM)
works("netlink question", lambda: netlink(18, 0x300, ifinfo))
refused("transparent socket", lambda: u.setsockopt(socket.SOL_IP, 19, 1), errno.EPERM)
refused("mark", lambda: u.setsockopt(socket.SOL_SOCKET, 36, 1), errno.EPERM)
refused("iptables", lambda: u.getsockopt(socket.SOL_IP, 64, 84), errno.EPERM, errno.ENOPROTOOPT)
listener = socket.create_server(("127.0.0.1", 0))
works("own service", lambda: socket.create_connection(listener.getsockname(), 5))
done()
