// Sockets that go to other processes: through each way to execute a program, with a descriptor that is put in the place of standard
// input, and in messages; and closing many descriptors at once. The same on the kernel's sockets and on Flumen's.
//
//   processes ADDRESS [ROLE DESCRIPTOR]      with a role it is what the others execute
#include "calls.h"

#include <libgen.h>
#include <linux/close_range.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static char me[4096], *address;

static int ended_well(pid_t pid) {
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// What goes along with a message.
#define MOST 8
struct parcel {
    char byte;
    struct iovec vector;
    struct msghdr head;
    union {
        char room[CMSG_SPACE(MOST * sizeof(int))];
        struct cmsghdr aligned;
    };
};

static void pack(struct parcel *parcel, const int *fds, int count) {
    memset(parcel, 0, sizeof *parcel);
    parcel->vector = (struct iovec){&parcel->byte, 1};
    parcel->head.msg_iov = &parcel->vector, parcel->head.msg_iovlen = 1;
    parcel->head.msg_control = parcel->room;
    parcel->head.msg_controllen = CMSG_SPACE((fds ? count : MOST) * sizeof(int));
    if (!fds) return;
    struct cmsghdr *c = CMSG_FIRSTHDR(&parcel->head);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), fds, count * sizeof(int));
}

static int unpack(struct parcel *parcel, int *fds) {
    struct cmsghdr *c = CMSG_FIRSTHDR(&parcel->head);
    if (!c || c->cmsg_type != SCM_RIGHTS || parcel->head.msg_flags & MSG_CTRUNC) return -1;
    memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    return (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

static int answer(int from, int to) {
    char room[8];
    return recv(from, room, 4, MSG_WAITALL) == 4 && memcmp(room, "ping", 4) == 0 && write(to, "pong", 4) == 4;
}

static int asks(int fd) {
    char room[8];
    return send(fd, "ping", 4, MSG_NOSIGNAL) == 4 && recv(fd, room, 4, MSG_WAITALL) == 4 && memcmp(room, "pong", 4) == 0;
}

// Takes a listener, a datagram socket and two names of one connection from a message, and serves on each; then a connection from
// each of two messages that are received at once.
static int serve_what_comes(int channel) {
    struct parcel parcel;
    int fds[MOST], more[2][MOST];
    pack(&parcel, NULL, 0);
    if (recvmsg(channel, &parcel.head, 0) != 1 || unpack(&parcel, fds) != 4) return 10;
    if (write(channel, "k", 1) != 1) return 11;
    int taken = accept(fds[0], NULL, NULL);
    if (taken < 0 || !answer(taken, taken)) return 12;
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    char room[8];
    if (recvfrom(fds[1], room, 8, 0, (struct sockaddr *)&from, &len) != 4) return 13;
    if (sendto(fds[1], "pong", 4, 0, (struct sockaddr *)&from, len) != 4) return 14;
    if (fds[2] == fds[3] || !answer(fds[2], fds[3]) || close(fds[2]) || !answer(fds[3], fds[3])) return 15;
    struct parcel both[2];
    struct mmsghdr heads[2];
    memset(heads, 0, sizeof heads);
    for (int n = 0; n < 2; n++) pack(&both[n], NULL, 0);
    if (ready(channel, POLLIN, 2000) != POLLIN) return 16;
    usleep(20000);
    for (int n = 0; n < 2; n++) heads[n].msg_hdr = both[n].head;
    if (recvmmsg(channel, heads, 2, 0, NULL) != 2) return 17;
    for (int n = 0; n < 2; n++) {
        both[n].head = heads[n].msg_hdr;
        if (unpack(&both[n], more[n]) != 1 || !answer(more[n][0], more[n][0])) return 18;
    }
    return 0;
}

static int play(const char *role, int fd) {
    if (strcmp(role, "echo") == 0) return !answer(fd, fd);
    if (strcmp(role, "filter") == 0) return !answer(0, 1);
    if (strcmp(role, "told") == 0) return !(getenv("TOLD") && answer(fd, fd));
    if (strcmp(role, "closed") == 0) return fcntl(fd, F_GETFD) != -1 || errno != EBADF;
    if (strcmp(role, "serve") == 0) return serve_what_comes(fd);
    return 9;
}

// The ways to become another program. Whatever is there is done before a vfork.
enum way { EXECV, EXECVE, EXECVP, EXECL, EXECLE, EXECLP, EXECVPE, FEXECVE, EXECVEAT, EXECVEAT_EMPTY, WAYS };

static void become(enum way way, char **arguments, char **environment, char *name, int self_fd) {
    char *const *a = arguments;
    switch (way) {
    case EXECV: execv(me, a); break;
    case EXECVE: execve(me, a, environment); break;
    case EXECVP: execvp(name, a); break;
    case EXECL: execl(me, a[0], a[1], a[2], a[3], NULL); break;
    case EXECLE: execle(me, a[0], a[1], a[2], a[3], NULL, environment); break;
    case EXECLP: execlp(name, a[0], a[1], a[2], a[3], NULL); break;
    case EXECVPE: execvpe(name, a, environment); break;
    case FEXECVE: fexecve(self_fd, a, environment); break;
    case EXECVEAT: execveat(AT_FDCWD, me, a, environment, 0); break;
    case EXECVEAT_EMPTY: execveat(self_fd, "", a, environment, AT_EMPTY_PATH); break;
    case WAYS: break;
    }
}

static void executed(void) {
    char copy[4096], number[16], *name;
    strcpy(copy, me);
    name = basename(copy);
    int self_fd = open(me, O_RDONLY | O_CLOEXEC), count = 0;
    while (environ[count]) count++;
    char **environment = calloc(count + 2, sizeof *environment);
    memcpy(environment, environ, count * sizeof *environment);
    environment[count] = "TOLD=yes";
    for (int way = 0; way < WAYS; way++)
        for (int virtual = 0; virtual < 2; virtual++) {
            int ends[2], has_environment = way == EXECVE || way == EXECLE || way >= EXECVPE;
            connection(ends);
            fcntl(ends[0], F_SETFD, FD_CLOEXEC);
            snprintf(number, sizeof number, "%d", ends[1]);
            char *arguments[] = {name, address, has_environment ? "told" : "echo", number, NULL};
            pid_t pid = virtual ? vfork() : fork();
            if (pid == 0) {
                become(way, arguments, environment, name, self_fd);
                _exit(77);
            }
            close(ends[1]);
            CHECK(asks(ends[0]));
            CHECK(ended_well(pid));
            // Nobody else had it.
            char byte;
            CHECK(recv(ends[0], &byte, 1, 0) == 0);
            close(ends[0]);
            if (failed) printf("by way %d, %s\n", way, virtual ? "vfork" : "fork");
        }
    // What is closed by exec is closed, and goes on here.
    int ends[2];
    connection(ends);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC), fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    snprintf(number, sizeof number, "%d", ends[1]);
    pid_t pid = vfork();
    if (pid == 0) {
        execl(me, name, address, "closed", number, NULL);
        _exit(77);
    }
    CHECK(ended_well(pid));
    CHECK(send(ends[0], "ping", 4, 0) == 4 && answer(ends[1], ends[1]));
    // A program that is not there leaves all as it was.
    FAILS(execl("/nowhere/at/all", name, NULL), ENOENT);
    CHECK(send(ends[0], "ping", 4, 0) == 4 && answer(ends[1], ends[1]));
    finish(ends);
    close(self_fd), free(environment);
}

static void spawned(void) {
    char copy[4096], *name;
    strcpy(copy, me);
    name = basename(copy);
    for (int by_name = 0; by_name < 2; by_name++) {
        int ends[2];
        connection(ends);
        fcntl(ends[0], F_SETFD, FD_CLOEXEC), fcntl(ends[1], F_SETFD, FD_CLOEXEC);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 0);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        char *arguments[] = {name, address, "filter", "0", NULL};
        pid_t pid = -1;
        CHECK((by_name ? posix_spawnp(&pid, name, &actions, NULL, arguments, environ)
                       : posix_spawn(&pid, me, &actions, NULL, arguments, environ)) == 0);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        CHECK(asks(ends[0]));
        CHECK(ended_well(pid));
        char byte;
        CHECK(recv(ends[0], &byte, 1, 0) == 0);
        close(ends[0]);
    }
}

// In messages to another program, and to this one.
static void passed(void) {
    int channel[2], ends[2], one[2], two[2];
    struct sockaddr_storage name, datagrams;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel) == 0);
    fcntl(channel[0], F_SETFD, FD_CLOEXEC);
    char number[16], room[8];
    snprintf(number, sizeof number, "%d", channel[1]);
    char *arguments[] = {me, address, "serve", number, NULL};
    pid_t pid = -1;
    CHECK(posix_spawn(&pid, me, NULL, NULL, arguments, environ) == 0);
    close(channel[1]);
    int listener = listening(&name), udp = fresh(SOCK_DGRAM);
    datagrams = name_of(udp);
    connection(ends);
    int again = dup(ends[1]), fds[] = {listener, udp, ends[1], again};
    struct parcel parcel;
    pack(&parcel, fds, 4);
    CHECK(sendmsg(channel[0], &parcel.head, 0) == 1);
    for (int n = 0; n < 4; n++) close(fds[n]);
    CHECK(read(channel[0], room, 1) == 1);
    int client = socket(family(), SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)&name, self_len) == 0 && asks(client));
    int from = fresh(SOCK_DGRAM);
    patience(from, SO_RCVTIMEO, 5000);
    CHECK(sendto(from, "ping", 4, 0, (struct sockaddr *)&datagrams, self_len) == 4);
    CHECK(recv(from, room, 8, 0) == 4 && memcmp(room, "pong", 4) == 0);
    CHECK(asks(ends[0]) && asks(ends[0]));
    connection(one), connection(two);
    struct parcel both[2];
    struct mmsghdr heads[2];
    memset(heads, 0, sizeof heads);
    pack(&both[0], &one[1], 1), pack(&both[1], &two[1], 1);
    for (int n = 0; n < 2; n++) heads[n].msg_hdr = both[n].head;
    CHECK(sendmmsg(channel[0], heads, 2, 0) == 2);
    close(one[1]), close(two[1]);
    CHECK(asks(one[0]) && asks(two[0]));
    CHECK(ended_well(pid));
    char byte;
    CHECK(recv(one[0], &byte, 1, 0) == 0 && recv(two[0], &byte, 1, 0) == 0 && recv(ends[0], &byte, 1, 0) == 0);
    close(one[0]), close(two[0]), close(ends[0]), close(client), close(from), close(channel[0]);
    // To itself: another name for the same, which outlives the first.
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, channel) == 0);
    connection(ends);
    pack(&parcel, &ends[1], 1);
    CHECK(sendmsg(channel[0], &parcel.head, 0) == 1);
    close(ends[1]);
    CHECK(send(ends[0], "ping", 4, 0) == 4);
    pack(&parcel, NULL, 0);
    CHECK(recvmsg(channel[1], &parcel.head, MSG_CMSG_CLOEXEC) == 1 && unpack(&parcel, fds) == 1);
    CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && answer(fds[0], fds[0]));
    CHECK(recv(ends[0], room, 4, MSG_WAITALL) == 4 && close(fds[0]) == 0 && recv(ends[0], &byte, 1, 0) == 0);
    close(ends[0]), close(channel[0]), close(channel[1]);
    // One that nobody takes ends with the channel.
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, channel) == 0);
    connection(ends);
    pack(&parcel, &ends[1], 1);
    CHECK(sendmsg(channel[0], &parcel.head, 0) == 1 && close(ends[1]) == 0);
    close(channel[0]), close(channel[1]);
    patience(ends[0], SO_RCVTIMEO, 20000);
    CHECK(recv(ends[0], &byte, 1, 0) == 0);
    close(ends[0]);
}

// A range as wide as all of the program's own: what was connected ends, and the program goes on.
static void closed_at_once(void) {
    int ends[2], watch[2];
    connection(ends), connection(watch);
    CHECK(close_range(ends[1], ends[1], CLOSE_RANGE_CLOEXEC) == 0);
    CHECK(fcntl(ends[1], F_GETFD) == FD_CLOEXEC && !(fcntl(ends[0], F_GETFD) & FD_CLOEXEC));
    CHECK(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0 && fcntl(ends[0], F_GETFD) == FD_CLOEXEC);
    CHECK(send(ends[0], "ping", 4, 0) == 4 && answer(ends[1], ends[1]));
    FAILS(close_range(9, 8, 0), EINVAL);
    FAILS(close_range(3, ~0U, 1 << 20), EINVAL);
    CHECK(send(ends[0], "ping", 4, 0) == 4 && answer(ends[1], ends[1]));
    for (int by_libc = 0; by_libc < 2; by_libc++) {
        // The other end is in a child, which keeps it and nothing else.
        int pair[2], status[2];
        connection(pair);
        CHECK(pipe(status) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            char byte = 'x';
            dup2(pair[1], 3), dup2(status[1], 4), closefrom(5);
            // (What stood at 3 and 4 may have been these.)
            ssize_t got = recv(3, &byte, 1, 0);
            got = write(4, got == 0 ? "0" : "1", 1);
            _exit(got != 1);
        }
        int said = fcntl(status[0], F_DUPFD, 500), epoll = epoll_create1(0);
        struct epoll_event event = {EPOLLIN, {.fd = pair[0]}};
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event) == 0);
        CHECK(dup2(said, 3) == 3);
        if (by_libc)
            closefrom(4);
        else
            CHECK(close_range(4, ~0U, 0) == 0);
        char byte = 'x';
        CHECK(read(3, &byte, 1) == 1 && byte == '0');
        CHECK(ended_well(pid));
        close(3);
        // And goes on with sockets, sets and children.
        connection(pair);
        epoll = epoll_create1(0), event.data.fd = pair[1];
        struct epoll_event seen;
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &event) == 0 && send(pair[0], "ping", 4, 0) == 4);
        CHECK(epoll_wait(epoll, &seen, 1, 2000) == 1 && seen.data.fd == pair[1] && answer(pair[1], pair[1]));
        pid = fork();
        if (pid == 0) _exit(!(answer(pair[1], pair[1])));
        CHECK(send(pair[0], "ping", 4, 0) == 4 && ended_well(pid));
        finish(pair), close(epoll);
    }
}

int main(int count, char **arguments) {
    if (!begin(count, arguments)) return 2;
    address = arguments[1];
    signal(SIGPIPE, SIG_IGN);
    if (count == 4) return play(arguments[2], atoi(arguments[3]));
    me[readlink("/proc/self/exe", me, sizeof me - 1)] = 0;
    char copy[4096], path[8192];
    strcpy(copy, me);
    snprintf(path, sizeof path, "%s:%s", dirname(copy), getenv("PATH"));
    setenv("PATH", path, 1);
    executed();
    spawned();
    passed();
    closed_at_once();
    return end();
}
