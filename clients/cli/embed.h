/* Files of the tree inside the program: EMBED_ROOT is the tree, quoted by the macro. */
#pragma once

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
