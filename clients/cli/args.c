#include "clients/cli/args.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli/util.h"

static void help(const struct args *a)
{
    printf("usage: cellbox %s\n\n%s\n", a->synopsis, a->about);
    if (a->nopts)
        printf("\n");
    for (size_t i = 0; i < a->nopts; i++) {
        char left[64];
        const struct opt *o = &a->opts[i];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

static bool wrong(struct args *a, const char *what, const char *which)
{
    a->status = fail(STATUS_USAGE, "%s%s%s; usage: cellbox %s", what, *which ? " " : "", which,
                     a->synopsis);
    return false;
}

static bool store(struct args *a, const struct opt *o, const char *value)
{
    if (o->kind == OPT_FLAG) {
        *(bool *)o->to = true;
    } else if (o->kind == OPT_TEXT) {
        *(const char **)o->to = value;
    } else if (o->kind == OPT_LIST) {
        struct opt_list *list = o->to;
        if (list->n == sizeof list->items / sizeof *list->items)
            return wrong(a, "too many of", o->name);
        list->items[list->n++] = value;
    } else {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        if (errno || *end || end == value || v < 0)
            return wrong(a, "not a number:", value);
        *(long long *)o->to = v;
    }
    return true;
}

static const struct opt *find(const struct args *a, const char *name, size_t len)
{
    for (size_t i = 0; i < a->nopts; i++)
        if (strlen(a->opts[i].name) == len && !strncmp(a->opts[i].name, name, len))
            return &a->opts[i];
    return NULL;
}

/* One "--name", "--name value" or "--name=value" at argv[*i]. */
static bool parse_option(struct args *a, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *value = NULL;
    size_t len = strcspn(name, "=");
    const struct opt *o = find(a, name, len);
    if (!o)
        return wrong(a, "unknown option", argv[*i]);
    if (o->kind == OPT_FLAG) {
        if (name[len])
            return wrong(a, "no value is taken by", argv[*i]);
        return store(a, o, NULL);
    }
    if (name[len])
        value = name + len + 1;
    else if (*i + 1 < argc)
        value = argv[++*i];
    else
        return wrong(a, "a value is missing after", argv[*i]);
    return store(a, o, value);
}

bool args_parse(struct args *a, int argc, char **argv)
{
    bool only_positional = false;
    a->positional = must(calloc((size_t)argc + 1, sizeof *a->positional));
    a->n = 0;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        only_positional |= a->command && a->n >= a->command;
        if (!only_positional && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            help(a);
            a->status = STATUS_OK;
            return false;
        }
        if (!only_positional && !strcmp(arg, "--")) {
            only_positional = true;
        } else if (!only_positional && !strncmp(arg, "--", 2)) {
            if (!parse_option(a, argc, argv, &i))
                return false;
        } else if (!only_positional && arg[0] == '-' && arg[1]) {
            return wrong(a, "unknown option", arg);
        } else {
            a->positional[a->n++] = arg;
        }
    }
    if (a->n < a->min)
        return wrong(a, "an argument is missing", "");
    if (a->n > a->max)
        return wrong(a, "unexpected argument", a->positional[a->max]);
    return true;
}
