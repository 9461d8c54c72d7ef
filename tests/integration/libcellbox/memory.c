/* Every allocation of the library fails once: the call says so or does without, and nothing leaks.
 */
#include <cellbox.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOX "libcellbox-memory"

enum { MOST = 2000 };

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
char *__wrap_strndup(const char *s, size_t n);
int __real_vasprintf(char **ret, const char *format, va_list ap);
int __wrap_vasprintf(char **ret, const char *format, va_list ap);

static int left = -1; /* allocations until one fails; -1: none does */

static bool fails(void)
{
    return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails() ? NULL : __real_strndup(s, n);
}

int __wrap_vasprintf(char **ret, const char *format, va_list ap)
{
    return fails() ? -1 : __real_vasprintf(ret, format, ap);
}

static int ignore(void *user, const struct cellbox_result *result)
{
    (void)user;
    (void)result;
    return 0;
}

/* A bit of everything; the first failure ends it. */
static int use(struct cellbox_error *e)
{
    struct cellbox_client *c = NULL;
    struct cellbox_execution *x = NULL;
    struct cellbox_exec_result *done = NULL;
    struct cellbox_files *files = NULL;
    struct cellbox_process *process = NULL, *reader = NULL;
    struct cellbox_log_match *match = NULL;
    char *id = NULL;
    struct cellbox_terminal *t = NULL;
    const struct cellbox_run_options run = {.on_result = ignore,
                                            .env = (const char *const[]){"A=b", NULL}};
    const struct cellbox_exec_options input = {.input = "abc", .input_len = 3};
    const struct cellbox_process_options reads = {.input = true};
    const struct cellbox_wait log = {.pattern = "(up)", .timeout_ms = 10000};
    int r = cellbox_client_new(NULL, &c, e);
    if (r == CELLBOX_OK)
        r = cellbox_run_code(c, BOX, "print('x'); {'a': 1}", &run, &x, e);
    if (r == CELLBOX_OK)
        r = cellbox_exec(c, BOX, "cat", &input, &done, e);
    if (r == CELLBOX_OK)
        r = cellbox_file_put(c, BOX, "a/b", "x", 1,
                             &(struct cellbox_write_options){.parents = true}, e);
    if (r == CELLBOX_OK)
        r = cellbox_file_list(c, BOX, "a", NULL, &files, e);
    if (r == CELLBOX_OK)
        r = cellbox_process_start(c, BOX, "echo up", NULL, &process, e);
    if (r == CELLBOX_OK)
        r = cellbox_process_wait(c, BOX, process->id, &log, &match, e);
    if (r == CELLBOX_OK)
        r = cellbox_process_start(c, BOX, "cat", &reads, &reader, e);
    if (r == CELLBOX_OK)
        r = cellbox_process_put(c, BOX, reader->id, "x", 1, true, e);
    if (r == CELLBOX_OK)
        r = cellbox_terminal_open(c, BOX, NULL, &id, e);
    if (r == CELLBOX_OK)
        r = cellbox_terminal_attach(c, BOX, id, NULL, &t, e);
    if (r == CELLBOX_OK)
        r = cellbox_terminal_delete(c, BOX, id, e);
    cellbox_terminal_close(t);
    cellbox_free(id);
    cellbox_free(match);
    cellbox_free(process);
    cellbox_free(reader);
    cellbox_free(files);
    cellbox_free(done);
    cellbox_free(x);
    cellbox_client_free(c);
    return r;
}

int main(void)
{
    struct cellbox_error e = {0};
    if (use(&e) != CELLBOX_OK) {
        fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    for (int n = 0; n < MOST; n++) {
        left = n;
        int r = use(&e);
        bool all = left >= 0;
        left = -1;
        if (r == CELLBOX_OK && all) {
            printf("%d allocations\nok\n", n);
            return 0;
        }
        if (r != CELLBOX_OK && r != CELLBOX_E_MEMORY)
            return printf("allocation %d: %s: %s\n", n, cellbox_strerror(r), e.message);
    }
    return 1;
}
