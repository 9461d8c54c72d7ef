/* A cell with a prompt, as the launcher of a notebook shows it: SVG, and the same as PNG of 64x64
 * for older ones. */
#include "clients/cli/logo.h"

#define TEXT_(s) #s
#define TEXT(s)  TEXT_(s)
#define FILE_OF_THE_TREE(name, path)                                                \
    __asm__(".section .rodata\n"                                                    \
            ".global " #name "\n" #name ":\n"                                       \
            ".incbin \"" TEXT(EMBED_ROOT) "/" path "\"\n" #name "_end:\n"           \
                                          ".byte 0\n"                               \
                                          ".balign 8\n"                             \
                                          ".global " #name "_len\n" #name "_len:\n" \
                                          ".quad " #name "_end - " #name "\n"       \
                                          ".previous\n")

FILE_OF_THE_TREE(logo_svg, "assets/logo-svg.svg");
FILE_OF_THE_TREE(logo_png, "assets/logo-64x64.png");
