/* Options of a command, read from a table that also prints its --help. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum opt_kind {
    OPT_FLAG,   /* bool * */
    OPT_TEXT,   /* const char ** */
    OPT_NUMBER, /* long long *; not negative */
    OPT_LIST    /* struct opt_list *: may be given several times */
};

struct opt_list {
    const char *items[256];
    size_t n;
};

struct opt {
    const char *name; /* without the dashes */
    enum opt_kind kind;
    void *to;
    const char *value; /* how help calls the value */
    const char *help;
};

struct args {
    const char *synopsis; /* "run NAME FILE|-" */
    const char *about;    /* paragraphs after the synopsis */
    const struct opt *opts;
    size_t nopts;
    size_t min, max; /* positional arguments */
    size_t command;  /* the positional with which a command begins, counted from 1: from there on
                        nothing is an option; 0: there is none */
    /* filled in */
    const char **positional;
    size_t n;
    int status; /* when args_parse() returned false */
};

/* Sorts argv[1..] into options and positionals. false: help was shown or the arguments are wrong;
 * exit with status. */
bool args_parse(struct args *a, int argc, char **argv);
