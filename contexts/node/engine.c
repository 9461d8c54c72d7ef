/*
 * V8 functions that N-API has no name for. The node binary exports them; looked up by their C++
 * names, so that the addon needs no C++ and loads with any build of Node that has them. They are
 * plain functions with `this` as first argument on the ABIs that we run on.
 */
#include "contexts/node/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>

typedef void *isolate_get(void);
typedef void isolate_call(void *isolate);
typedef void interrupt_fn(void *isolate, void *data);
typedef void isolate_interrupt(void *isolate, interrupt_fn *function, void *data);
typedef size_t heap_fn(void *data, size_t limit, size_t initial);
typedef void isolate_heap(void *isolate, heap_fn *function, void *data);

enum { HEAP_EXTRA = 64 << 20, HEAP_EXTRAS = 4 };

static struct {
    void *isolate;
    isolate_call *terminate, *cancel, *collect;
    isolate_interrupt *request_interrupt;
    isolate_heap *add_heap_callback;
} v8;
static void (*on_heap)(void);

/* ISO C has no conversion from object to function pointer; POSIX promises that this works. */
static int find(void *ret_function, const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(ret_function, &symbol, sizeof symbol);
    return symbol ? 0 : -ENOSYS;
}

int engine_init(void)
{
    isolate_get *current = NULL;
    int r = find(&current, "_ZN2v87Isolate10GetCurrentEv");
    r |= find(&v8.terminate, "_ZN2v87Isolate18TerminateExecutionEv");
    r |= find(&v8.cancel, "_ZN2v87Isolate24CancelTerminateExecutionEv");
    r |= find(&v8.collect, "_ZN2v87Isolate21LowMemoryNotificationEv");
    r |= find(&v8.request_interrupt, "_ZN2v87Isolate16RequestInterruptEPFvPS0_PvES2_");
    r |= find(&v8.add_heap_callback, "_ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_");
    if (r)
        return -ENOSYS;
    v8.isolate = current();
    return v8.isolate ? 0 : -ENOSYS;
}

void engine_terminate(void)
{
    v8.terminate(v8.isolate);
}

void engine_cancel_terminate(void)
{
    v8.cancel(v8.isolate);
}

void engine_collect(void)
{
    v8.collect(v8.isolate);
    malloc_trim(0);
}

static void run_interrupt(void *isolate, void *data)
{
    void (*function)(void);
    (void)isolate;
    memcpy(&function, &data, sizeof function);
    function();
}

void engine_request_interrupt(void (*function)(void))
{
    void *data;
    memcpy(&data, &function, sizeof data);
    v8.request_interrupt(v8.isolate, run_interrupt, data);
}

static size_t near_heap_limit(void *data, size_t limit, size_t initial)
{
    (void)data;
    on_heap();
    /* Room to unwind, but not for ever: a program that allocates in `finally` must end. */
    return limit < initial + HEAP_EXTRAS * HEAP_EXTRA ? limit + HEAP_EXTRA : limit;
}

void engine_watch_heap(void (*function)(void))
{
    on_heap = function;
    v8.add_heap_callback(v8.isolate, near_heap_limit, NULL);
}
