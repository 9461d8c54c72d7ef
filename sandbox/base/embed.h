/* A file of the source tree as bytes in the program: NAME and NAME_end, with a NUL behind it that
 * does not count. */
#pragma once

#define EMBED_TEXT_(s) #s
#define EMBED_TEXT(s)  EMBED_TEXT_(s)

/* path: a string literal relative to the top of the tree; EMBED_ROOT is that, given by the build.
 */
#define EMBED(name, path)                                                                 \
    extern const char name[];                                                             \
    extern const size_t name##_len;                                                       \
    __asm__(".section .rodata\n"                                                          \
            ".global " #name "\n" #name ":\n"                                             \
            ".incbin \"" EMBED_TEXT(EMBED_ROOT) "/" path "\"\n" #name "_end:\n"           \
                                                ".byte 0\n"                               \
                                                ".balign 8\n"                             \
                                                ".global " #name "_len\n" #name "_len:\n" \
                                                ".quad " #name "_end - " #name "\n"       \
                                                ".previous\n")
