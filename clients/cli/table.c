#include "clients/cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clients/cli/util.h"

void table_row(struct table *t, ...)
{
    va_list ap;
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->cells = must(realloc(t->cells, t->cap * t->columns * sizeof *t->cells));
    }
    va_start(ap, t);
    for (size_t i = 0; i < t->columns; i++) {
        const char *text = va_arg(ap, const char *);
        char *cell = must(strdup(text && *text ? text : "-"));
        for (char *p = cell; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7f)
                *p = '?';
        t->cells[t->n * t->columns + i] = cell;
    }
    va_end(ap);
    t->n++;
}

void table_print(struct table *t)
{
    size_t width[TABLE_COLUMNS] = {0};
    for (size_t i = 0; i < t->n * t->columns; i++) {
        size_t len = strlen(t->cells[i]);
        if (len > width[i % t->columns])
            width[i % t->columns] = len;
    }
    for (size_t i = 0; i < t->n * t->columns; i++) {
        if ((i + 1) % t->columns)
            printf("%-*s  ", (int)width[i % t->columns], t->cells[i]);
        else
            printf("%s\n", t->cells[i]);
        free(t->cells[i]);
    }
    free(t->cells);
    *t = (struct table){.columns = t->columns};
}

char *duration_text(long long ms)
{
    long long s = ms / 1000;
    if (ms < 0)
        return must(strdup("-"));
    if (s < 60)
        return text_format("%llds", s);
    if (s < 3600)
        return text_format("%lldm", s / 60);
    return s < 86400 ? text_format("%lldh", s / 3600) : text_format("%lldd", s / 86400);
}

long long age_ms(const json_t *time_value)
{
    struct timespec now;
    struct tm tm = {0};
    double then;
    clock_gettime(CLOCK_REALTIME, &now);
    if (json_is_number(time_value)) {
        then = json_number_value(time_value);
        if (then > 1e11) /* milliseconds */
            then /= 1000;
    } else if (json_is_string(time_value) &&
               strptime(json_string_value(time_value), "%Y-%m-%dT%H:%M:%S", &tm)) {
        then = (double)timegm(&tm);
    } else {
        return -1;
    }
    double age = (double)now.tv_sec - then;
    return age < 0 ? 0 : (long long)(age * 1000);
}
