/* USAGE: what jupyter-resource-usage asks, without a step of JavaScript. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "contexts/node/side.h"

/* Resident bytes of a process, "self" or a number: second number of statm, in pages. */
static uint64_t resident(const char *process)
{
    char path[300], text[128], *end;
    snprintf(path, sizeof path, "/proc/%s/statm", process);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    const char *line = fgets(text, sizeof text, f);
    fclose(f);
    if (!line)
        return 0;
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Of all processes of the box: its control group is not to be seen from inside. */
static uint64_t resident_all(void)
{
    uint64_t sum = 0;
    DIR *d = opendir("/proc");
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));)
        if (isdigit((unsigned char)*e->d_name))
            sum += resident(e->d_name);
    closedir(d);
    return sum;
}

/* Mean CPU use since the last question, in percent of one CPU. */
static double cpu_percent(void)
{
    static double last_cpu, last_time;
    struct timespec wall, used = {0};
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    double time = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9;
    double cpu = (double)used.tv_sec + (double)used.tv_nsec / 1e9;
    double percent =
        last_time > 0 && time > last_time ? 100 * (cpu - last_cpu) / (time - last_time) : 0;
    last_time = time;
    last_cpu = cpu;
    return percent;
}

struct memory {
    uint64_t total, available;
};

/* The box is the machine that its users see: `limit` bytes, 0 = not told. */
static struct memory memory_of(double limit)
{
    struct sysinfo si = {0};
    sysinfo(&si);
    struct memory m = {(uint64_t)si.totalram * si.mem_unit,
                       ((uint64_t)si.freeram + si.bufferram) * si.mem_unit};
    if (limit <= 0 || limit >= (double)m.total)
        return m;
    uint64_t used = resident_all();
    m.total = (uint64_t)limit;
    uint64_t left = used < m.total ? m.total - used : 0;
    if (left < m.available)
        m.available = left;
    return m;
}

void side_usage(const struct message *m)
{
    char json[512], host[128] = "";
    double limit = 0, cpus = 0, percent = cpu_percent();
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    side_number(m, "memory", &limit);
    if (side_number(m, "cpus", &cpus) && cpus > 0 && cpus < (double)count)
        count = cpus < 1 ? 1 : (long)(cpus + 0.5);
    struct memory memory = memory_of(limit);
    uint64_t used = memory.total - memory.available;
    gethostname(host, sizeof host - 1);
    for (char *c = host; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
            *c = '?';
    snprintf(json, sizeof json,
             "{\"hostname\":\"%s\",\"pid\":%d,\"kernel_cpu\":%.1f,\"kernel_memory\":%llu,"
             "\"cpu_count\":%ld,\"host_cpu_percent\":%.1f,\"host_virtual_memory\":{\"total\":%llu,"
             "\"available\":%llu,\"percent\":%.1f,\"used\":%llu,\"free\":%llu}}",
             host, getpid(), percent, (unsigned long long)resident("self"), count,
             percent / (double)count, (unsigned long long)memory.total,
             (unsigned long long)memory.available,
             memory.total ? 100.0 * (double)used / (double)memory.total : 0.0,
             (unsigned long long)used, (unsigned long long)memory.available);
    struct section s = {json, strlen(json)};
    link_send(FRAME_DONE, FRAME_OK, m->req, 1, &s);
}
