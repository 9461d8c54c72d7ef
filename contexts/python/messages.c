/*
 * Frames in Python: messages go out and come in as (type, arg, req, sections), sections being
 * bytes; docs/protocol.md has their meaning.
 */
#include "contexts/python/host.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "contexts/proto/frame.h"
#include "contexts/python/inbox.h"
#include "contexts/python/listener.h"

/* SYNC_MS bounds the wait for init: a gateway that does not read holds the cell at its next output
 * anyway. */
enum { SYNC_MS = 2000, MESSAGE_MAX = 64 << 20 };

static PyThread_type_lock send_turn; /* packets of one message follow each other */
static PyObject *control_hook;       /* called when the first control message came */

/* Borrowed pointers into the tuple of bytes; -1 with an exception. */
static Py_ssize_t sections_of(PyObject *tuple, struct section *ret)
{
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    size_t total = 0;

    if (n > MESSAGE_SECTIONS_MAX) {
        PyErr_Format(PyExc_ValueError, "at most %d sections", MESSAGE_SECTIONS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *b = PyTuple_GET_ITEM(tuple, i);
        if (!PyBytes_Check(b)) {
            PyErr_Format(PyExc_TypeError, "sections are bytes, not %s", Py_TYPE(b)->tp_name);
            return -1;
        }
        total += (size_t)PyBytes_GET_SIZE(b);
        if (total > MESSAGE_MAX - MESSAGE_HEAD - 4 * MESSAGE_SECTIONS_MAX) {
            PyErr_Format(PyExc_ValueError, "message is larger than 64 MiB");
            return -1;
        }
        ret[i] = (struct section){PyBytes_AS_STRING(b), (uint32_t)PyBytes_GET_SIZE(b)};
    }
    return n;
}

/* Sends; `behind_text`: not before the text that was printed until now. */
static PyObject *transmit(PyObject *const *args, Py_ssize_t nargs, bool behind_text)
{
    struct section sections[MESSAGE_SECTIONS_MAX];

    if (nargs != 4 || !PyTuple_Check(args[3]))
        return PyErr_Format(PyExc_TypeError, "type, arg, req, tuple of bytes");
    long type = PyLong_AsLong(args[0]);
    unsigned long arg = PyLong_AsUnsignedLong(args[1]);
    uint64_t req = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    Py_ssize_t n = sections_of(args[3], sections);
    if (n < 0)
        return NULL;
    if (!host.attached || (host.muted && behind_text))
        Py_RETURN_NONE;
    if (behind_text && type != FRAME_HELLO)
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

static PyObject *send_message(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    return transmit(args, nargs, true);
}

/* post(): what has no place in the order of the program: control. */
static PyObject *post_message(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    return transmit(args, nargs, false);
}

static void call_control_hook(void)
{
    PyObject *r = control_hook ? PyObject_CallNoArgs(control_hook) : NULL;
    if (r)
        Py_DECREF(r);
    else if (PyErr_Occurred())
        PyErr_WriteUnraisable(control_hook);
}

static PyObject *on_control(PyObject *self, PyObject *hook)
{
    (void)self;
    Py_XSETREF(control_hook, Py_NewRef(hook));
    Py_RETURN_NONE;
}

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

/* (type, arg, req, [bytes]) or None when the box is empty. */
static PyObject *taken(enum inbox_kind kind, uint64_t number)
{
    struct message *m = inbox_take(kind, number);
    if (!m)
        Py_RETURN_NONE;
    PyObject *parsed = parse_message(m->data, m->len);
    free(m);
    return parsed;
}

/* recv() -> the next message for the main thread or None; EOFError when the peer has gone. Reads
 * the socket and sorts what is for others. */
static PyObject *recv_message(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    for (;;) {
        PyObject *m = taken(INBOX_MAIN, 0);
        if (m != Py_None)
            return m;
        Py_DECREF(m);
        enum inbox_result r = inbox_receive(NULL);
        if (r == INBOX_NOTHING)
            Py_RETURN_NONE;
        if (r == INBOX_END) {
            PyErr_SetString(PyExc_EOFError, "the gateway has gone");
            return NULL;
        }
        if (inbox_control_waits())
            call_control_hook();
    }
}

/*
 * wait(fd, timeout_ms) -> bits: 1 = a frame can be received (or the peer closed), 2 = fd is
 * readable, 4 = fd is closed. Main thread. While it waits without a limit nobody else reads the
 * socket.
 */
static PyObject *wait_input(PyObject *self, PyObject *args)
{
    int fd, timeout, r;
    (void)self;
    if (!PyArg_ParseTuple(args, "ii", &fd, &timeout))
        return NULL;
    struct pollfd p[2] = {{.fd = host.link.fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    if (timeout)
        listener_main_waits();
    if (inbox_main_waits())
        timeout = 0;
    do {
        Py_BEGIN_ALLOW_THREADS r = poll(p, 2, timeout);
        Py_END_ALLOW_THREADS if (r < 0 && (errno != EINTR || PyErr_CheckSignals() < 0)) break;
    } while (r < 0);
    int error = errno;
    listener_main_works(call_control_hook);
    if (r < 0)
        return PyErr_Occurred() ? NULL : (errno = error, PyErr_SetFromErrno(PyExc_OSError));
    return PyLong_FromLong((p[0].revents || inbox_main_waits() ? 1 : 0) |
                           (p[1].revents & POLLNVAL ? 4
                            : p[1].revents          ? 2
                                                    : 0));
}

/* Box arguments from Python: (kind, number). */
static int box_args(PyObject *args, int *ret_kind, unsigned long long *ret_number)
{
    return PyArg_ParseTuple(args, "iK", ret_kind, ret_number) ? 0 : -1;
}

/* open_box(kind, number) -> descriptor, readable while it holds messages. */
static PyObject *open_box(PyObject *self, PyObject *args)
{
    int kind;
    unsigned long long number;
    (void)self;
    if (box_args(args, &kind, &number) < 0)
        return NULL;
    int fd = inbox_open((enum inbox_kind)kind, number);
    if (fd < 0) {
        errno = -fd;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(fd);
}

static PyObject *close_box(PyObject *self, PyObject *args)
{
    int kind;
    unsigned long long number;
    (void)self;
    if (box_args(args, &kind, &number) < 0)
        return NULL;
    inbox_close((enum inbox_kind)kind, number);
    Py_RETURN_NONE;
}

/* wake(kind, number): its descriptor becomes readable, though nothing came. */
static PyObject *wake_box(PyObject *self, PyObject *args)
{
    int kind;
    unsigned long long number;
    (void)self;
    if (box_args(args, &kind, &number) < 0)
        return NULL;
    inbox_wake((enum inbox_kind)kind, number);
    Py_RETURN_NONE;
}

/* take(kind, number) -> a message or None; does not wait. */
static PyObject *take_message(PyObject *self, PyObject *args)
{
    int kind;
    unsigned long long number;
    (void)self;
    if (box_args(args, &kind, &number) < 0)
        return NULL;
    return taken((enum inbox_kind)kind, number);
}

/* sleep(fd): until fd is readable. Any thread; KeyboardInterrupt in the main one. */
static PyObject *sleep_on(PyObject *self, PyObject *arg)
{
    struct pollfd p = {.fd = (int)PyLong_AsLong(arg), .events = POLLIN};
    int r;
    (void)self;
    if (p.fd == -1 && PyErr_Occurred())
        return NULL;
    do {
        Py_BEGIN_ALLOW_THREADS r = poll(&p, 1, -1);
        Py_END_ALLOW_THREADS if (r < 0 && errno != EINTR) return PyErr_SetFromErrno(PyExc_OSError);
        if (r < 0 && PyErr_CheckSignals() < 0)
            return NULL;
    } while (r < 0);
    Py_RETURN_NONE;
}

static PyObject *frame_fd(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyLong_FromLong(host.link.fd);
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)(void (*)(void))send_message, METH_FASTCALL,
     "send(type, arg, req, sections)"},
    {"post", (PyCFunction)(void (*)(void))post_message, METH_FASTCALL,
     "post(type, arg, req, sections)"},
    {"recv", recv_message, METH_NOARGS, "recv() -> (type, arg, req, sections) or None"},
    {"wait", wait_input, METH_VARARGS, "wait(fd, timeout_ms) -> bits"},
    {"on_control", on_control, METH_O, "on_control(callable): the first control message came"},
    {"open_box", open_box, METH_VARARGS, "open_box(kind, number) -> fd"},
    {"close_box", close_box, METH_VARARGS, "close_box(kind, number)"},
    {"wake", wake_box, METH_VARARGS, "wake(kind, number)"},
    {"take", take_message, METH_VARARGS, "take(kind, number) -> message or None"},
    {"sleep", sleep_on, METH_O, "sleep(fd)"},
    {"frame_fd", frame_fd, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

void messages_after_fork(void)
{
    send_turn = PyThread_allocate_lock();
}

int messages_add(PyObject *module)
{
    send_turn = PyThread_allocate_lock();
    if (!send_turn || PyModule_AddFunctions(module, methods) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "MAIN", INBOX_MAIN) < 0 ||
                   PyModule_AddIntConstant(module, "CONTROL", INBOX_CONTROL) < 0 ||
                   PyModule_AddIntConstant(module, "LANE", INBOX_LANE) < 0 ||
                   PyModule_AddIntConstant(module, "INPUT", INBOX_INPUT) < 0
               ? -1
               : 0;
}
