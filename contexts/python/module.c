/*
 * _cellbox: what the package cellbox_kernel needs from C. Messages go out and come in as
 * (type, arg, req, sections), sections being bytes; docs/protocol.md has their meaning.
 */
#include "contexts/python/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "contexts/proto/frame.h"

/*
 * Descriptors live above what loops like os.closerange(3, 256) and select() users care about: user
 * code starts at 3. SYNC_MS bounds the wait for init: a gateway that does not read holds the cell
 * at its next output anyway.
 */
enum { FD_FLOOR = 512, SYNC_MS = 2000, MESSAGE_MAX = 64 << 20 };

struct host host = {.link = {.fd = -1}, .ring = {.doorbell = -1}, .out_fd = -1, .err_fd = -1};

static PyThread_type_lock send_turn; /* packets of one message follow each other */

static int move_up(int fd)
{
    int up = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);
    if (up < 0)
        return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : fd;
    close(fd);
    return up;
}

int module_attach(const struct context_boot *boot)
{
    if (boot->frame_fd == CONTEXT_FD_FRAME)
        close(CONTEXT_FD_RING); /* mapped already; inherited by a forked context too */
    host.link.fd = move_up(boot->frame_fd);
    host.ring = boot->ring;
    host.ring.doorbell = move_up(boot->ring.doorbell);
    if (host.link.fd < 0 || host.ring.doorbell < 0)
        return -EBADF;
    host.out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, FD_FLOOR);
    host.err_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, FD_FLOOR);
    host.detached = host.muted = false;
    host.attached = true;
    return 0;
}

/* after_in_child hook of os.fork: this process is a child of user code. */
static PyObject *detach(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (host.attached) {
        close(host.link.fd);
        close(host.ring.doorbell);
        close(host.out_fd);
        close(host.err_fd);
        host.link.fd = host.ring.doorbell = host.out_fd = host.err_fd = -1;
        host.attached = false;
        host.detached = true;
    }
    send_turn = PyThread_allocate_lock();
    stream_after_fork();
    Py_RETURN_NONE;
}

static PyObject *is_detached(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyBool_FromLong(host.detached);
}

static PyObject *mute(PyObject *self, PyObject *on)
{
    (void)self;
    host.muted = PyObject_IsTrue(on) > 0;
    Py_RETURN_NONE;
}

static PyObject *send_message(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct section sections[MESSAGE_SECTIONS_MAX];
    (void)self;

    if (nargs != 4 || !PyTuple_Check(args[3]))
        return PyErr_Format(PyExc_TypeError, "send(type, arg, req, tuple of bytes)");
    long type = PyLong_AsLong(args[0]);
    unsigned long arg = PyLong_AsUnsignedLong(args[1]);
    uint64_t req = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(args[3]);
    size_t total = 0;
    if (n > MESSAGE_SECTIONS_MAX)
        return PyErr_Format(PyExc_ValueError, "at most %d sections", MESSAGE_SECTIONS_MAX);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *b = PyTuple_GET_ITEM(args[3], i);
        if (!PyBytes_Check(b))
            return PyErr_Format(PyExc_TypeError, "sections are bytes, not %s", Py_TYPE(b)->tp_name);
        total += (size_t)PyBytes_GET_SIZE(b);
        if (total > MESSAGE_MAX - MESSAGE_HEAD - 4 * MESSAGE_SECTIONS_MAX)
            return PyErr_Format(PyExc_ValueError, "message is larger than 64 MiB");
        sections[i] = (struct section){PyBytes_AS_STRING(b), (uint32_t)PyBytes_GET_SIZE(b)};
    }
    if (!host.attached || host.muted)
        Py_RETURN_NONE;
    if (type != FRAME_HELLO)
        stream_sync(SYNC_MS);
    int r;
    PyObject *keep = Py_NewRef(args[3]);
    Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(send_turn, WAIT_LOCK);
    r = link_send(&host.link, (uint16_t)type, (uint32_t)arg, req, (unsigned)n, sections);
    PyThread_release_lock(send_turn);
    Py_END_ALLOW_THREADS Py_DECREF(keep);
    if (r < 0) {
        errno = -r;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* wait(fd, timeout_ms) -> bits: 1 = a frame can be received (or the peer closed), 2 = fd is
 * readable, 4 = fd is closed. */
static PyObject *wait_input(PyObject *self, PyObject *args)
{
    int fd, timeout;
    (void)self;
    if (!PyArg_ParseTuple(args, "ii", &fd, &timeout))
        return NULL;
    struct pollfd p[2] = {{.fd = host.link.fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    int r;
    do {
        Py_BEGIN_ALLOW_THREADS r = poll(p, 2, timeout);
        Py_END_ALLOW_THREADS if (r < 0 && errno != EINTR) return PyErr_SetFromErrno(PyExc_OSError);
        if (r < 0 && PyErr_CheckSignals() < 0)
            return NULL;
    } while (r < 0);
    return PyLong_FromLong((p[0].revents ? 1 : 0) | (p[1].revents & POLLNVAL ? 4
                                                     : p[1].revents          ? 2
                                                                             : 0));
}

/* The message being received; packets of one message arrive in a row. */
static struct {
    uint8_t packet[PACKET_MAX];
    uint8_t *data;
    size_t len, cap;
} rx;

static PyObject *bad_message(void)
{
    PyErr_SetString(PyExc_EOFError, "malformed message");
    return NULL;
}

static PyObject *parse_message(const uint8_t *p, size_t len)
{
    if (len < MESSAGE_HEAD)
        return bad_message();
    unsigned type = (unsigned)get_le(p, 2), n = (unsigned)get_le(p + 2, 2);
    size_t at = MESSAGE_HEAD + 4u * n;
    if (n > MESSAGE_SECTIONS_MAX || len < at)
        return bad_message();
    PyObject *sections = PyList_New(n);
    if (!sections)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        size_t size = get_le(p + MESSAGE_HEAD + 4u * i, 4);
        PyObject *b = size <= len - at
                          ? PyBytes_FromStringAndSize((const char *)p + at, (Py_ssize_t)size)
                          : NULL;
        if (!b) {
            Py_DECREF(sections);
            return PyErr_Occurred() ? NULL : bad_message();
        }
        PyList_SET_ITEM(sections, i, b);
        at += size;
    }
    return Py_BuildValue("IkKN", type, (unsigned long)get_le(p + 4, 4),
                         (unsigned long long)get_le(p + 8, 8), sections);
}

static int rx_append(const uint8_t *p, size_t n)
{
    if (rx.len + n > MESSAGE_MAX)
        return -EMSGSIZE;
    if (rx.len + n > rx.cap) {
        size_t cap = rx.cap ? rx.cap * 2 : 4 * PACKET_MAX;
        uint8_t *d = realloc(rx.data, cap);
        if (!d)
            return -ENOMEM;
        rx.data = d;
        rx.cap = cap;
    }
    memcpy(rx.data + rx.len, p, n);
    rx.len += n;
    return 0;
}

/* recv() -> (type, arg, req, [bytes]) or None when no whole message is there; EOFError when the
 * peer has gone. */
static PyObject *recv_message(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    for (;;) {
        ssize_t n = link_recv(&host.link, rx.packet);
        if (n == -EAGAIN)
            Py_RETURN_NONE;
        if (n <= 0) {
            PyErr_SetString(PyExc_EOFError, "the gateway has gone");
            return NULL;
        }
        if (n < PACKET_HEAD)
            return bad_message();
        unsigned flags = rx.packet[0];
        if ((flags & PACKET_FIRST) && (flags & PACKET_LAST))
            return parse_message(rx.packet + PACKET_HEAD, (size_t)n - PACKET_HEAD);
        if (flags & PACKET_FIRST)
            rx.len = 0;
        if (rx_append(rx.packet + PACKET_HEAD, (size_t)n - PACKET_HEAD) < 0)
            return bad_message();
        if (flags & PACKET_LAST) {
            PyObject *m = parse_message(rx.data, rx.len);
            free(rx.data);
            rx.data = NULL;
            rx.len = rx.cap = 0;
            return m;
        }
    }
}

static PyObject *frame_fd(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyLong_FromLong(host.link.fd);
}

/* begin(req): interrupts of this request are let through from now on. */
static PyObject *begin(PyObject *self, PyObject *req)
{
    (void)self;
    uint64_t n = PyLong_AsUnsignedLongLong(req);
    if (PyErr_Occurred())
        return NULL;
    interrupt_set_running(n);
    Py_RETURN_NONE;
}

/* end() -> whether an interrupt came too late to be raised. After it no KeyboardInterrupt is raised
 * by us. */
static PyObject *end(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    interrupt_set_running(0);
    if (PyErr_CheckSignals() < 0) {
        PyErr_Clear();
        Py_RETURN_TRUE;
    }
    Py_RETURN_FALSE;
}

/* install_sigint(): our handler, unless it is there. The Python-level handler is not touched. */
static PyObject *install_sigint(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (!interrupt_is_installed() && interrupt_install() < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *current_request(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyLong_FromUnsignedLongLong(stream_current_request());
}

/* environ() -> dict of bytes: the real environment, which init replaced behind Python's back. */
static PyObject *get_environ(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    PyObject *d = PyDict_New();
    for (char **e = environ; d && e && *e; e++) {
        const char *eq = strchr(*e, '=');
        if (!eq || eq == *e)
            continue;
        PyObject *k = PyBytes_FromStringAndSize(*e, eq - *e), *v = PyBytes_FromString(eq + 1);
        if (!k || !v || PyDict_SetItem(d, k, v) < 0)
            Py_CLEAR(d);
        Py_XDECREF(k);
        Py_XDECREF(v);
    }
    return d;
}

static PyObject *find_state(PyObject *self, PyObject *address)
{
    (void)self;
    void *p = PyLong_AsVoidPtr(address);
    if (!p && PyErr_Occurred())
        return NULL;
    return PyLong_FromLong(reseed_find((uintptr_t)p));
}

static PyObject *reseed(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    reseed_apply();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)(void (*)(void))send_message, METH_FASTCALL,
     "send(type, arg, req, sections)"},
    {"recv", recv_message, METH_NOARGS, "recv() -> (type, arg, req, sections) or None"},
    {"wait", wait_input, METH_VARARGS, "wait(fd, timeout_ms) -> bits"},
    {"frame_fd", frame_fd, METH_NOARGS, NULL},
    {"begin", begin, METH_O, "begin(req)"},
    {"end", end, METH_NOARGS, "end() -> bool"},
    {"install_sigint", install_sigint, METH_NOARGS, NULL},
    {"current_request", current_request, METH_NOARGS, NULL},
    {"environ", get_environ, METH_NOARGS, NULL},
    {"detach", detach, METH_NOARGS, NULL},
    {"is_detached", is_detached, METH_NOARGS, NULL},
    {"mute", mute, METH_O, NULL},
    {"find_state", find_state, METH_O, "find_state(address of numpy's mt19937_state or 0)"},
    {"reseed", reseed, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_cellbox", .m_size = -1,
                                        .m_methods = methods};

static PyObject *init_module(void)
{
    PyObject *m = PyModule_Create(&definition);
    send_turn = PyThread_allocate_lock();
    if (!m || !send_turn || stream_add_types(m) < 0) {
        Py_XDECREF(m);
        return NULL;
    }
    return m;
}

int module_register(void)
{
    return PyImport_AppendInittab("_cellbox", init_module);
}
