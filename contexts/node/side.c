#include "contexts/node/side.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000 };

bool side_is(uint16_t type)
{
    return type == FRAME_COMPLETE || type == FRAME_INSPECT || type == FRAME_IS_COMPLETE ||
           type == FRAME_HISTORY || type == FRAME_COMM_INFO;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* Digits behind "cursor_pos": in the gateway's own JSON. */
static unsigned long cursor_of(const struct message *m)
{
    char text[256];
    size_t n = m->nsections ? m->sections[0].len : 0;
    if (n >= sizeof text)
        n = sizeof text - 1;
    memcpy(text, m->nsections ? m->sections[0].data : "", n);
    text[n] = 0;
    const char *found = strstr(text, "\"cursor_pos\":");
    return found ? strtoul(found + 13, NULL, 10) : 0;
}

bool side_give_up(struct message *m)
{
    char json[160];
    if (!m->waiting_since_ms)
        m->waiting_since_ms = now_ms();
    if (now_ms() - m->waiting_since_ms < PATIENCE_MS)
        return false;
    unsigned long at = cursor_of(m);
    switch (m->type) {
    case FRAME_COMPLETE:
        snprintf(json, sizeof json,
                 "{\"status\":\"ok\",\"matches\":[],\"cursor_start\":%lu,\"cursor_end\":%lu,"
                 "\"metadata\":{}}",
                 at, at);
        break;
    case FRAME_INSPECT:
        snprintf(json, sizeof json,
                 "{\"status\":\"ok\",\"found\":false,\"data\":{},\"metadata\":{}}");
        break;
    case FRAME_IS_COMPLETE:
        snprintf(json, sizeof json, "{\"status\":\"unknown\"}");
        break;
    case FRAME_HISTORY:
        snprintf(json, sizeof json, "{\"status\":\"ok\",\"history\":[]}");
        break;
    default:
        snprintf(json, sizeof json, "{\"status\":\"ok\",\"comms\":{}}");
    }
    struct section s = {json, strlen(json)};
    link_send(FRAME_DONE, FRAME_OK, m->req, 1, &s);
    return true;
}

/* Resident bytes of this process: second number of statm, in pages. */
static uint64_t resident(void)
{
    char text[128], *end;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    const char *line = fgets(text, sizeof text, f);
    fclose(f);
    if (!line)
        return 0;
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What jupyter-resource-usage asks. kernel_cpu is the mean of the time since the last question. */
void side_usage(uint64_t req)
{
    static double last_cpu, last_time;
    char json[512], host[128] = "";
    struct sysinfo si = {0};
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double time = (double)t.tv_sec + (double)t.tv_nsec / 1e9, cpu = cpu_seconds();
    double percent =
        last_time > 0 && time > last_time ? 100 * (cpu - last_cpu) / (time - last_time) : 0;
    last_time = time;
    last_cpu = cpu;
    gethostname(host, sizeof host - 1);
    sysinfo(&si);
    for (char *c = host; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
            *c = '?';
    unsigned long long total = (unsigned long long)si.totalram * si.mem_unit,
                       available = ((unsigned long long)si.freeram + si.bufferram) * si.mem_unit;
    snprintf(json, sizeof json,
             "{\"hostname\":\"%s\",\"pid\":%d,\"kernel_cpu\":%.1f,\"kernel_memory\":%llu,"
             "\"cpu_count\":%ld,\"host_cpu_percent\":%.1f,\"host_virtual_memory\":{\"total\":%llu,"
             "\"available\":%llu,\"used\":%llu,\"free\":%llu}}",
             host, getpid(), percent, (unsigned long long)resident(), sysconf(_SC_NPROCESSORS_ONLN),
             percent, total, available, total - available,
             (unsigned long long)si.freeram * si.mem_unit);
    struct section s = {json, strlen(json)};
    link_send(FRAME_DONE, FRAME_OK, req, 1, &s);
}
