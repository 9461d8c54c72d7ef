#include "contexts/python/host.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PYTHON_PREFIX "/opt/venv"
#define RUNTIME_LIB   "/opt/cellbox/lib"

/* Numeric libraries start their threads at import; a process that will be forked has one. Taken
 * back after preload. */
static const char *const single_threaded[] = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
                                              "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"};

static const char *env_or(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

static int fail(const char *step, const char *why)
{
    fprintf(stderr, "cbx-python: %s: %s\n", step, why ? why : "failed");
    return -EIO;
}

/*
 * Like the python command of the virtual environment, sys.executable included. A fresh context
 * honours PYTHON* of its environment: that is why it is fresh.
 */
static int python_init(bool use_environment)
{
    PyPreConfig pre;
    PyConfig config;
    char program[512];

    PyPreConfig_InitPythonConfig(&pre);
    pre.use_environment = use_environment;
    pre.parse_argv = 0;
    if (!use_environment || !getenv("PYTHONUTF8"))
        pre.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&pre);
    if (PyStatus_Exception(status))
        return fail("Python pre-initialisation", status.err_msg);
    if (module_register() < 0)
        return fail("register module", NULL);
    snprintf(program, sizeof program, "%s/bin/python",
             env_or("CELLBOX_PYTHON_PREFIX", PYTHON_PREFIX));
    PyConfig_InitPythonConfig(&config);
    config.use_environment = use_environment;
    config.parse_argv = 0;
    config.install_signal_handlers = 1;
    status = PyConfig_SetBytesString(&config, &config.program_name, program);
    if (!PyStatus_Exception(status)) {
        wchar_t *empty[] = {L""};
        status = PyConfig_SetArgv(&config, 1, empty);
    }
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? fail("Python initialisation", status.err_msg) : 0;
}

/* cellbox_kernel by its place; sys.path stays the user's. Kept: a forked context need not look for
 * it. */
static PyObject *package;

static PyObject *import_package(void)
{
    if (package)
        return package;

    PyObject *path = PySys_GetObject("path");
    PyObject *lib = PyUnicode_FromString(env_or("CELLBOX_RUNTIME_LIB", RUNTIME_LIB));

    if (path && lib && PyList_Insert(path, 0, lib) == 0) {
        package = PyImport_ImportModule("cellbox_kernel");
        PySequence_DelItem(path, 0);
    }
    Py_XDECREF(lib);
    return package;
}

static int print_error(const char *step)
{
    PyErr_Print();
    return fail(step, "see the traceback above");
}

static int preload(void)
{
    for (size_t i = 0; i < sizeof single_threaded / sizeof *single_threaded; i++)
        setenv(single_threaded[i], "1", 1);
    arena_area_init();
    int r = python_init(false);
    if (r < 0)
        return r;
    PyObject *done = import_package() ? PyObject_CallMethod(package, "preload", NULL) : NULL;
    if (!done)
        return print_error("preload");
    Py_DECREF(done);
    for (size_t i = 0; i < sizeof single_threaded / sizeof *single_threaded; i++)
        unsetenv(single_threaded[i]);
    seal_heap();
    collapse_heap();
    return 0;
}

/*
 * Python's locks are taken once per process image: init is a clone made between before_fork and
 * after_fork_parent and forks again from that state. Taking the import lock twice would leave it
 * held in the context.
 */
static pid_t forking;

static void before_fork(void)
{
    if (forking)
        return;
    forking = getpid();
    PyOS_BeforeFork();
}

static void after_fork_parent(void)
{
    if (forking != getpid())
        return; /* init: stays as it was cloned */
    forking = 0;
    PyOS_AfterFork_Parent();
}

static void on_ignored_signal(int signo)
{
    (void)signo;
}

/*
 * A peer that closes its socket is an error of the write (EPIPE), and no end of the interpreter, as
 * in every CPython. Not SIG_IGN, which programs would inherit: a handler is forgotten at exec, so
 * that what a cell starts, in whatever way, ends like a program in a shell.
 */
static void usual_signals(void)
{
    static const int ignored[] = {SIGPIPE, SIGXFSZ};
    sigset_t none;
    struct sigaction dfl = {.sa_handler = SIG_DFL},
                     nothing = {.sa_handler = on_ignored_signal, .sa_flags = SA_RESTART};
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    sigaction(SIGCHLD, &dfl, NULL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        sigaction(ignored[i], &nothing, NULL);
}

static _Noreturn void run(const struct context_boot *boot)
{
    PyObject *status =
        import_package() ? PyObject_CallMethod(package, "main", "i", boot->fresh) : NULL;
    if (!status) {
        PyErr_Print();
        _exit(1);
    }
    /* Not exit(): destructors of C++ libraries would run under threads that still use them. */
    fflush(NULL);
    _exit((int)PyLong_AsLong(status));
}

static int context_main(const struct context_boot *boot)
{
    prctl(PR_SET_NAME, "cbx-python");
    usual_signals();
    if (!boot->fresh) {
        forking = 0;
        PyOS_AfterFork_Child();
        tzset();
        if (getenv("LC_ALL") || getenv("LC_CTYPE") || getenv("LANG"))
            setlocale(LC_CTYPE, "");
    }
    if (module_attach(boot) < 0)
        return 1;
    run(boot);
}

int python_fresh_main(void)
{
    struct context_boot boot = {
        .frame_fd = CONTEXT_FD_FRAME, .ring = {.doorbell = CONTEXT_FD_DOORBELL}, .fresh = 1};

    void *p = mmap(NULL, sizeof(struct outring_shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                   CONTEXT_FD_RING, 0);
    if (p == MAP_FAILED) {
        fail("map the output ring", strerror(errno));
        return 1;
    }
    boot.ring.shared = p;
    close(CONTEXT_FD_RING);
    fcntl(CONTEXT_FD_FRAME, F_SETFD, FD_CLOEXEC);
    fcntl(CONTEXT_FD_DOORBELL, F_SETFD, FD_CLOEXEC);
    if (python_init(true) < 0)
        return 1;
    return context_main(&boot);
}

const struct interpreter_ops *python_ops(void)
{
    static const struct interpreter_ops ops = {.preload = preload,
                                               .before_fork = before_fork,
                                               .after_fork_parent = after_fork_parent,
                                               .context_main = context_main};
    return &ops;
}
