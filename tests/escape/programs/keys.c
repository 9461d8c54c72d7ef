/* Kernel keyrings are not bound to namespaces of a box. */
#include "lib/attack.h"

int main(void)
{
    char buf[64] = {0};
    REFUSED(EPERM, "add_key", syscall(SYS_add_key, "user", "k", "v", 1, -4));
    REFUSED(EPERM, "add_key with a bad pointer", syscall(SYS_add_key, 1, 1, 1, 1, -4));
    REFUSED(EPERM, "request_key", syscall(SYS_request_key, "user", "k", NULL, -4));
    REFUSED(EPERM, "keyctl get keyring", syscall(SYS_keyctl, 0, -4, 1));
    REFUSED(EPERM, "keyctl join session", syscall(SYS_keyctl, 1, NULL));
    REFUSED(EPERM, "keyctl with a bad command", syscall(SYS_keyctl, 9999, buf));
    WORKS("getrandom", syscall(SYS_getrandom, buf, sizeof buf, 0));
    return done();
}
