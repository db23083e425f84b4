/*
 * refuse [-o FILE] N once|always PROGRAM ARGUMENT...
 *
 * Runs PROGRAM and answers system calls of it and its children with ENOMEM: the Nth that asks for memory, gives some
 * back or moves some, or that and all after it; N 0: none. Counted are mmap of private anonymous memory without
 * reserve, which is how the allocator under test maps (and few others do), munmap, mremap and madvise. FILE gets their
 * number.
 *
 * The kernel stops each such call and asks this process (seccomp user notification). Exit status: PROGRAM's, 128 + the
 * number of the signal it died of, 77 if the kernel has no such thing.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, NOT_FOUND = 127 };

static int install_filter(void) {
    const unsigned flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, flags, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
}

/* A descriptor through a socket; FD -1: none to be had. */
union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr header;
};

static void send_descriptor(int to, int fd) {
    char byte = fd >= 0;
    union control control = {{0}};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    sendmsg(to, &message, 0);
}

static int receive_descriptor(int from) {
    char byte = 0;
    int fd = -1;
    union control control = {{0}};
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(from, &message, 0) == 1 && byte)
        memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

/* Answers until no process is left that could ask; returns how many calls there were. */
static long answer(int listener, long nth, int always) {
    long n = 0;
    struct pollfd asked = {listener, POLLIN, 0};
    for (;;) {
        struct seccomp_notif call;
        if (poll(&asked, 1, -1) < 0 && errno == EINTR)
            continue;
        if (!(asked.revents & POLLIN))
            return n;
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
            continue; /* it was killed meanwhile */
        n++;
        int refused = nth && (n == nth || (always && n > nth));
        struct seccomp_notif_resp reply = {call.id, 0, refused ? -ENOMEM : 0,
                                           refused ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
    }
}

int main(int argc, char **argv) {
    const char *file = NULL;
    if (argc > 2 && strcmp(argv[1], "-o") == 0) {
        file = argv[2];
        argc -= 2;
        argv += 2;
    }
    int ends[2], status = 0;
    if (argc < 4 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return 2;
    pid_t pid = fork();
    if (pid == 0) {
        int listener = install_filter();
        send_descriptor(ends[1], listener);
        if (listener < 0)
            _exit(CANNOT);
        close(listener);
        execvp(argv[3], argv + 3);
        _exit(NOT_FOUND);
    }
    int listener = receive_descriptor(ends[0]);
    long n = listener >= 0 ? answer(listener, strtol(argv[1], NULL, 10), strcmp(argv[2], "always") == 0) : 0;
    FILE *out = file ? fopen(file, "w") : NULL;
    if (out) {
        fprintf(out, "%ld\n", n);
        fclose(out);
    }
    if (waitpid(pid, &status, 0) != pid)
        return 2;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
