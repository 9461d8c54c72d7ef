#include "sandbox/base/parent.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

void parent_bind(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
}
