/* A filter that knows one calling convention is no filter: i386 and x32 calls end the process. */
#include "lib/attack.h"

enum { X32_BIT = 0x40000000 };

static int status_of(void (*attack)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        attack();
        _exit(7);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void nothing(void)
{
    syscall(SYS_getpid);
}

#ifdef __x86_64__
static void i386_getpid(void)
{
    int r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    _exit(r > 0 ? 1 : 2);
}

static void i386_mount(void)
{
    int r;
    __asm__ volatile("int $0x80"
                     : "=a"(r)
                     : "a"(21), "b"(0), "c"(0), "d"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    _exit(3);
}

static void x32_getpid(void)
{
    _exit(syscall(X32_BIT + SYS_getpid) > 0 ? 1 : 2);
}

static void x32_mount(void)
{
    syscall(X32_BIT + SYS_mount, 0, 0, 0, 0, 0);
    _exit(3);
}
#endif

int main(void)
{
    int s = status_of(nothing);
    check("a child must work", WIFEXITED(s) && WEXITSTATUS(s) == 7, s, 0);
#ifdef __x86_64__
    void (*attacks[])(void) = {i386_getpid, i386_mount, x32_getpid, x32_mount};
    const char *names[] = {"i386 getpid", "i386 mount", "x32 getpid", "x32 mount"};
    for (int i = 0; i < 4; i++) {
        s = status_of(attacks[i]);
        check(names[i], WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS, s, 0);
    }
#endif
    return done();
}
