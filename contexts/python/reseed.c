/*
 * State below Python that a fork duplicates. numpy.random.seed() in the child costs 0.5 ms of
 * copied pages; writing the Mersenne Twister's words from the kernel's generator is the same thing
 * in microseconds. OpenBLAS was imported with one thread; its pool is told the number of CPUs
 * without being started: it starts with the first product worth it.
 */
#include "contexts/python/host.h"

#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>

enum { MT_WORDS = 624, BLAS_MAX = 4, BLAS_THREADS_MAX = 64 };

struct mt19937 {
    uint32_t key[MT_WORDS];
    int pos;
};

struct blas {
    int *cpu_number, *num_threads;
    volatile int *server_avail;
};

static struct mt19937 *generator;
static struct blas blas[BLAS_MAX];
static unsigned nblas;

static int find_blas(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    if (!strstr(info->dlpi_name, "openblas") || nblas == BLAS_MAX)
        return 0;
    void *lib = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    if (!lib)
        return 0;
    struct blas b = {.cpu_number = dlsym(lib, "blas_cpu_number"),
                     .num_threads = dlsym(lib, "blas_num_threads"),
                     .server_avail = dlsym(lib, "blas_server_avail")};
    if (b.cpu_number && b.num_threads && b.server_avail && *b.num_threads == 1)
        blas[nblas++] = b;
    dlclose(lib);
    return 0;
}

int reseed_find(uintptr_t numpy_state)
{
    generator = (struct mt19937 *)numpy_state;
    nblas = 0;
    dl_iterate_phdr(find_blas, NULL);
    return (int)nblas;
}

void reseed_apply(void)
{
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    if (generator) {
        size_t done = 0;
        while (done < sizeof generator->key) {
            /* At most 256 bytes a call: such a request is never cut short. */
            size_t n = sizeof generator->key - done < 256 ? sizeof generator->key - done : 256;
            if (getrandom((uint8_t *)generator->key + done, n, 0) == (ssize_t)n)
                done += n;
        }
        generator->key[0] |= 0x80000000u; /* never the all-zero state */
        generator->pos = MT_WORDS;
    }
    if (cpus > BLAS_THREADS_MAX)
        cpus = BLAS_THREADS_MAX;
    for (unsigned i = 0; i < nblas && cpus > 1; i++) {
        *blas[i].cpu_number = cpus;
        *blas[i].num_threads = cpus;
        *blas[i].server_avail = 0;
    }
}
