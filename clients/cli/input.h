/* Answers to input() of a cell: a line from the terminal (without echo for a password) or from
 * standard input. */
#pragma once

#include <stdbool.h>
#include <termios.h>

#include "clients/cli/util.h"

struct input {
    int fd; /* descriptor to read from; -1 = there is nobody to ask */
    bool owned, asking, hidden;
    struct termios before;
    struct str line;
};

/* code_from_stdin: standard input is the program, so only the terminal can answer. */
void input_init(struct input *in, bool code_from_stdin);
void input_ask(struct input *in, const char *prompt, bool password);
/* Call when fd is readable: 1 = a line is complete (in->line), 0 = not yet, -1 = end of input. */
int input_read(struct input *in);
void input_cancel(struct input *in); /* ends a question: the echo comes back */
void input_deinit(struct input *in);
