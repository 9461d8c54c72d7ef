/* Typing into a terminal: TIOCSTI would let a box type into whoever attached to it. */
#include "lib/attack.h"
#include <sys/ioctl.h>

int main(void)
{
    struct winsize ws = {.ws_row = 5, .ws_col = 7};
    char got[8] = {0};
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    check("posix_openpt must work", master >= 0, master, errno);
    grantpt(master);
    unlockpt(master);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    check("open of the terminal must work", slave >= 0, slave, errno);
    setsid();
    ioctl(slave, TIOCSCTTY, 0);

    REFUSED(EPERM, "TIOCSTI", ioctl(slave, TIOCSTI, "x"));
    REFUSED(EPERM, "TIOCSTI with high bits",
            syscall(SYS_ioctl, slave, 0x100000000ul | TIOCSTI, "x"));
    REFUSED(EPERM, "TIOCSTI with a bad pointer", syscall(SYS_ioctl, slave, TIOCSTI, 1));
    REFUSED(EPERM, "TIOCSTI on a closed descriptor", ioctl(-1, TIOCSTI, "x"));

    WORKS("TIOCSWINSZ", ioctl(slave, TIOCSWINSZ, &ws));
    check("a line through the terminal must work",
          write(master, "ab\n", 3) == 3 && read(slave, got, 8) == 3, 0, errno);
    return done();
}
