/*
 * cbx-python: --zygote = the warm process that boxes are cloned from; --context = one context,
 * executed fresh because its box or environment differs from what the zygote loaded.
 */
#include "contexts/python/host.h"

#include <stdio.h>
#include <string.h>

#ifdef CELLBOX_HAVE_ZYGOTE
#include "sandbox/zygote/zygote.h"
#endif

int main(int argc, char **argv)
{
    if (argc >= 2 && !strcmp(argv[1], "--context"))
        return python_fresh_main();
#ifdef CELLBOX_HAVE_ZYGOTE
    if (argc >= 2 && !strcmp(argv[1], "--zygote"))
        return zygote_main(python_ops(), argc, argv);
#endif
    fprintf(stderr, "usage: cbx-python --zygote | --context\n");
    return 2;
}
