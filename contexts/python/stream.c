/*
 * sys.stdout and sys.stderr. print() calls write() here; the text goes into the output ring with
 * the request of the calling task or thread: no system call, no Python frame. When the ring is full
 * the GIL is given up until init has made room, and signals are looked at, so that a blocked print
 * can be interrupted.
 */
#include "contexts/python/host.h"

#include <errno.h>
#include <pthread.h>
#include <structmember.h>
#include <unistd.h>

enum { WAIT_MS = 200, CHILD_LINE_MAX = 8192 };

typedef struct {
    PyObject_HEAD PyObject *dict;
    PyObject *weakrefs;
    int number; /* 1 stdout, 2 stderr */
    PyObject *buffer;
} stream_object;

static PyObject *request_var;
static PyTypeObject *stream_type, *buffer_type;

/* Who writes; turn_owner is only touched with the GIL. */
static PyThread_type_lock turn;
static unsigned long turn_owner;

/* Per stream: whether the last byte written ended a line. */
static bool line_start[3] = {true, true, true};

/* A child of user code: lines are kept together, as line buffering does. */
static struct {
    char data[CHILD_LINE_MAX];
    size_t len;
} child_line[3];

uint64_t stream_current_request(void)
{
    PyObject *value = NULL;
    uint64_t req = 0;

    if (PyContextVar_Get(request_var, NULL, &value) < 0) {
        PyErr_Clear();
        return 0;
    }
    if (value) {
        req = PyLong_AsUnsignedLongLong(value);
        if (req == (uint64_t)-1 && PyErr_Occurred()) {
            PyErr_Clear();
            req = 0;
        }
        Py_DECREF(value);
    }
    return req;
}

PyObject *stream_request_var(void)
{
    return request_var;
}

/* Bytes to fd 1 or 2 of a forked child. Returns 0 or -1 with OSError. */
static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n;
        Py_BEGIN_ALLOW_THREADS n = write(fd, data, len);
        Py_END_ALLOW_THREADS if (n < 0 && errno == EINTR)
        {
            if (PyErr_CheckSignals() < 0)
                return -1;
            continue;
        }
        if (n < 0) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int child_flush(int stream)
{
    size_t n = child_line[stream].len;
    child_line[stream].len = 0;
    return n ? write_all(stream, child_line[stream].data, n) : 0;
}

static int child_write(int stream, const char *data, size_t len)
{
    if (child_line[stream].len + len > CHILD_LINE_MAX && child_flush(stream) < 0)
        return -1;
    if (len > CHILD_LINE_MAX)
        return write_all(stream, data, len);
    memcpy(child_line[stream].data + child_line[stream].len, data, len);
    child_line[stream].len += len;
    return memchr(data, '\n', len) || stream == 2 ? child_flush(stream) : 0;
}

/* The rest of a write that did not fit at once. */
static int emit_rest(int stream, uint64_t req, const char *data, size_t len)
{
    while (!host.detached) {
        int r;
        Py_BEGIN_ALLOW_THREADS r = outring_wait_room(&host.ring, WAIT_MS);
        Py_END_ALLOW_THREADS if (r == -EPIPE) break;
        if (PyErr_CheckSignals() < 0)
            return -1;
        size_t n = outring_try_write(&host.ring, req, stream, data, len);
        data += n;
        len -= n;
        if (!len)
            break;
    }
    return 0;
}

/*
 * One write at a time: a long one gives up the GIL in between, and others queue behind it. A signal
 * handler that prints while its own thread is in a long write goes through.
 */
static bool take_turn(unsigned long me)
{
    if (turn_owner == me)
        return false;
    if (!PyThread_acquire_lock(turn, NOWAIT_LOCK)) {
        Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(turn, WAIT_LOCK);
        Py_END_ALLOW_THREADS
    }
    turn_owner = me;
    return true;
}

static void give_turn(void)
{
    turn_owner = 0;
    PyThread_release_lock(turn);
}

int stream_emit(int stream, uint64_t req, const char *data, size_t len)
{
    if (len == 0 || host.muted || !(host.attached || host.detached))
        return 0;
    if (host.detached)
        return child_write(stream, data, len);
    /* At the start of a line: text of a subprocess that is still in a pipe goes first. */
    if (line_start[stream] && outring_settle(&host.ring, host.out_fd, host.err_fd, 0) < 0) {
        Py_BEGIN_ALLOW_THREADS outring_settle(&host.ring, host.out_fd, host.err_fd, WAIT_MS);
        Py_END_ALLOW_THREADS
    }
    line_start[stream] = data[len - 1] == '\n';
    bool taken = take_turn(PyThread_get_thread_ident());
    int ret = 0;
    size_t n = outring_try_write(&host.ring, req, stream, data, len);
    if (n < len)
        ret = emit_rest(stream, req, data + n, len - n);
    if (taken)
        give_turn();
    return ret;
}

int stream_sync(int timeout_ms)
{
    int r = 0;

    if (!host.attached || outring_is_drained(&host.ring, host.out_fd, host.err_fd))
        return 0;
    Py_BEGIN_ALLOW_THREADS r = outring_sync(&host.ring, host.out_fd, host.err_fd, timeout_ms);
    Py_END_ALLOW_THREADS return r;
}

static PyObject *stream_write(stream_object *self, PyObject *text)
{
    if (!PyUnicode_Check(text))
        return PyErr_Format(PyExc_TypeError, "write() argument must be str, not %s",
                            Py_TYPE(text)->tp_name);
    Py_ssize_t len;
    const char *data = PyUnicode_AsUTF8AndSize(text, &len);
    int r;
    if (data) {
        r = stream_emit(self->number, stream_current_request(), data, (size_t)len);
    } else {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return NULL;
        PyErr_Clear();
        PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
        if (!bytes)
            return NULL;
        r = stream_emit(self->number, stream_current_request(), PyBytes_AS_STRING(bytes),
                        (size_t)PyBytes_GET_SIZE(bytes));
        Py_DECREF(bytes);
    }
    return r < 0 ? NULL : PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *stream_writelines(stream_object *self, PyObject *lines)
{
    PyObject *it = PyObject_GetIter(lines), *line;
    if (!it)
        return NULL;
    while ((line = PyIter_Next(it))) {
        PyObject *r = stream_write(self, line);
        Py_DECREF(line);
        if (!r)
            break;
        Py_DECREF(r);
    }
    Py_DECREF(it);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *buffer_write(stream_object *self, PyObject *arg)
{
    Py_buffer view;
    if (PyUnicode_Check(arg))
        return PyErr_Format(PyExc_TypeError, "a bytes-like object is required, not 'str'");
    if (PyObject_GetBuffer(arg, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_ssize_t len = view.len;
    int r = stream_emit(self->number, stream_current_request(), view.buf, (size_t)len);
    PyBuffer_Release(&view);
    return r < 0 ? NULL : PyLong_FromSsize_t(len);
}

static PyObject *stream_flush(stream_object *self, PyObject *unused)
{
    (void)unused;
    if (host.detached && child_flush(self->number) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *stream_fileno(stream_object *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(self->number);
}

static PyObject *return_true(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_TRUE;
}

static PyObject *return_false(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_FALSE;
}

/* close(): the stream belongs to the context; library code that closes it must not silence the rest
 * of it. */
static PyObject *return_none(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    (void)args;
    (void)kwargs;
    Py_RETURN_NONE;
}

static PyObject *get_text(PyObject *self, void *text)
{
    (void)self;
    return PyUnicode_FromString(text);
}

static PyObject *get_none(PyObject *self, void *closure)
{
    (void)self;
    (void)closure;
    Py_RETURN_NONE;
}

static PyObject *get_false(PyObject *self, void *closure)
{
    (void)self;
    (void)closure;
    Py_RETURN_FALSE;
}

static PyObject *get_true(PyObject *self, void *closure)
{
    (void)self;
    (void)closure;
    Py_RETURN_TRUE;
}

static PyObject *get_name(stream_object *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(self->number == 1 ? "<stdout>" : "<stderr>");
}

static PyObject *get_buffer(stream_object *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->buffer ? self->buffer : (PyObject *)self);
}

static PyObject *stream_repr(stream_object *self)
{
    return PyUnicode_FromFormat("<cellbox stream name='<std%s>' mode='w' encoding='utf-8'>",
                                self->number == 1 ? "out" : "err");
}

static int stream_traverse(stream_object *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->dict);
    Py_VISIT(self->buffer);
    return 0;
}

static int stream_clear(stream_object *self)
{
    Py_CLEAR(self->dict);
    Py_CLEAR(self->buffer);
    return 0;
}

static void stream_dealloc(stream_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs)
        PyObject_ClearWeakRefs((PyObject *)self);
    stream_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int number;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "i", &number))
        return NULL;
    if (number != 1 && number != 2)
        return PyErr_Format(PyExc_ValueError, "1 or 2");
    stream_object *self = (stream_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->number = number;
    if (type == stream_type) {
        self->buffer = PyObject_CallFunction((PyObject *)buffer_type, "i", number);
        if (!self->buffer) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

#define COMMON_METHODS                                                                        \
    {"flush", (PyCFunction)stream_flush, METH_NOARGS, NULL},                                  \
        {"fileno", (PyCFunction)stream_fileno, METH_NOARGS, NULL},                            \
        {"isatty", return_false, METH_NOARGS, NULL},                                          \
        {"readable", return_false, METH_NOARGS, NULL},                                        \
        {"writable", return_true, METH_NOARGS, NULL},                                         \
        {"seekable", return_false, METH_NOARGS, NULL},                                        \
    {                                                                                         \
        "close", (PyCFunction)(void (*)(void))return_none, METH_VARARGS | METH_KEYWORDS, NULL \
    }

static PyMethodDef stream_methods[] = {
    {"write", (PyCFunction)stream_write, METH_O, NULL},
    {"writelines", (PyCFunction)stream_writelines, METH_O, NULL},
    {"reconfigure", (PyCFunction)(void (*)(void))return_none, METH_VARARGS | METH_KEYWORDS, NULL},
    COMMON_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyMethodDef buffer_methods[] = {
    {"write", (PyCFunction)buffer_write, METH_O, NULL},
    COMMON_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_getset[] = {
    {"encoding", get_text, NULL, NULL, "utf-8"},
    {"errors", get_text, NULL, NULL, "backslashreplace"},
    {"mode", get_text, NULL, NULL, "w"},
    {"newlines", get_none, NULL, NULL, NULL},
    {"name", (getter)get_name, NULL, NULL, NULL},
    {"closed", get_false, NULL, NULL, NULL},
    {"line_buffering", get_true, NULL, NULL, NULL},
    {"write_through", get_true, NULL, NULL, NULL},
    {"buffer", (getter)get_buffer, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef buffer_getset[] = {
    {"mode", get_text, NULL, NULL, "wb"},    {"name", (getter)get_name, NULL, NULL, NULL},
    {"closed", get_false, NULL, NULL, NULL}, {"raw", (getter)get_buffer, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(stream_object, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(stream_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new},     {Py_tp_dealloc, stream_dealloc}, {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, stream_clear}, {Py_tp_methods, stream_methods}, {Py_tp_getset, stream_getset},
    {Py_tp_members, members},    {Py_tp_repr, stream_repr},       {0, NULL},
};

static PyType_Slot buffer_slots[] = {
    {Py_tp_new, stream_new},           {Py_tp_dealloc, stream_dealloc},
    {Py_tp_traverse, stream_traverse}, {Py_tp_clear, stream_clear},
    {Py_tp_methods, buffer_methods},   {Py_tp_getset, buffer_getset},
    {Py_tp_members, members},          {0, NULL},
};

static PyType_Spec stream_spec = {.name = "_cellbox.Stream",
                                  .basicsize = sizeof(stream_object),
                                  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                  .slots = stream_slots};
static PyType_Spec buffer_spec = {.name = "_cellbox.StreamBuffer",
                                  .basicsize = sizeof(stream_object),
                                  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                  .slots = buffer_slots};

void stream_after_fork(void)
{
    turn_owner = 0;
    turn = PyThread_allocate_lock();
    line_start[1] = line_start[2] = true;
    child_line[1].len = child_line[2].len = 0;
}

int stream_add_types(PyObject *module)
{
    turn = PyThread_allocate_lock();
    request_var = PyContextVar_New("cellbox_request", NULL);
    stream_type = (PyTypeObject *)PyType_FromSpec(&stream_spec);
    buffer_type = (PyTypeObject *)PyType_FromSpec(&buffer_spec);
    if (!turn || !request_var || !stream_type || !buffer_type)
        return -1;
    if (PyModule_AddObjectRef(module, "request", request_var) < 0 ||
        PyModule_AddObjectRef(module, "Stream", (PyObject *)stream_type) < 0 ||
        PyModule_AddObjectRef(module, "StreamBuffer", (PyObject *)buffer_type) < 0)
        return -1;
    return 0;
}
