#include "sandbox/init/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/init.h"

enum { GROUP_TTY = 5 };

int pty_resize(int master, uint16_t cols, uint16_t rows)
{
    struct winsize size = {.ws_col = cols, .ws_row = rows};
    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

/* UTF-8 input: erasing a character takes all of its bytes. */
static void set_modes(int slave)
{
    struct termios t;
    if (tcgetattr(slave, &t) < 0)
        return;
    t.c_iflag |= IUTF8;
    tcsetattr(slave, TCSANOW, &t);
}

int pty_open(uint16_t cols, uint16_t rows, struct pty *ret)
{
    int unlocked = 0;
    CLEANUP_FD int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
        return -errno;
    /* By the master itself: a path could be somebody else's by then. */
    CLEANUP_FD int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    if (geteuid() == 0 && (fchown(slave, INIT_BOX_UID, GROUP_TTY) < 0 || fchmod(slave, 0620) < 0))
        return -errno;
    set_modes(slave);
    int r = pty_resize(master, cols, rows);
    if (r < 0)
        return r;
    ret->master = STEAL_FD(master);
    ret->slave = STEAL_FD(slave);
    return 0;
}
