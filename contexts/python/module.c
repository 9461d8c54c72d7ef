/* _cellbox: what the package cellbox_kernel needs from C; messages are in messages.c. */
#include "contexts/python/host.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "contexts/python/inbox.h"
#include "contexts/python/listener.h"

/*
 * Descriptors live above what loops like os.closerange(3, 256) and select() users care about: user
 * code starts at 3.
 */
enum { FD_FLOOR = 512 };

struct host host = {.link = {.fd = -1}, .ring = {.doorbell = -1}, .out_fd = -1, .err_fd = -1};

int host_move_up(int fd)
{
    if (fd < 0)
        return -errno;
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
    host.link.fd = host_move_up(boot->frame_fd);
    host.ring = boot->ring;
    host.ring.doorbell = host_move_up(boot->ring.doorbell);
    if (host.link.fd < 0 || host.ring.doorbell < 0)
        return -EBADF;
    host.out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, FD_FLOOR);
    host.err_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, FD_FLOOR);
    host.detached = host.muted = false;
    host.attached = true;
    inbox_attach(host.link.fd);
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
    listener_forget();
    inbox_detach();
    messages_after_fork();
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
    if (!m || messages_add(m) < 0 || stream_add_types(m) < 0) {
        Py_XDECREF(m);
        return NULL;
    }
    return m;
}

int module_register(void)
{
    return PyImport_AppendInittab("_cellbox", init_module);
}
