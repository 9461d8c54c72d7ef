#include "clients/cli/input.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void input_init(struct input *in, bool code_from_stdin)
{
    *in = (struct input){.fd = STDIN_FILENO};
    if (code_from_stdin) {
        in->fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
        in->owned = true;
    }
}

void input_ask(struct input *in, const char *prompt, bool password)
{
    input_cancel(in);
    str_clear(&in->line);
    in->asking = true;
    bool terminal = isatty(in->fd);
    if (terminal && password && tcgetattr(in->fd, &in->before) == 0) {
        struct termios quiet = in->before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        in->hidden = tcsetattr(in->fd, TCSAFLUSH, &quiet) == 0;
    }
    write_all(terminal ? in->fd : STDERR_FILENO, prompt, strlen(prompt));
}

/*
 * One byte at a time from anything but a terminal, which gives a line a call: what follows the line
 * belongs to the next question, or to whoever reads standard input after us.
 */
int input_read(struct input *in)
{
    char chunk[4096];
    ssize_t n = read(in->fd, chunk, isatty(in->fd) ? sizeof chunk : 1);
    if (n <= 0)
        return in->line.len ? 1 : -1;
    const char *end = memchr(chunk, '\n', (size_t)n);
    str_add(&in->line, chunk, end ? (size_t)(end - chunk) : (size_t)n);
    return end != NULL;
}

void input_cancel(struct input *in)
{
    if (in->hidden) {
        tcsetattr(in->fd, TCSANOW, &in->before);
        write_all(in->fd, "\n", 1);
    }
    in->hidden = in->asking = false;
}

void input_deinit(struct input *in)
{
    input_cancel(in);
    str_deinit(&in->line);
    if (in->owned && in->fd >= 0)
        close(in->fd);
}
