// Sockets that come and go, thousands of them and by every way that there is: connections, datagrams, sets, children, executed programs,
// descriptors in messages, threads that close what others wait for. What it costs is looked at after the first rounds, and after the
// last ones: mappings, descriptors and memory of this process must not have grown.
//
//   churn ADDRESS ROUNDS
//   churn ADDRESS executed DESCRIPTOR       what the others execute
//   churn ADDRESS giver DESCRIPTOR          a program that makes a connection, gives one end away, and ends
//   churn ADDRESS generation NUMBER         see generations()
#include "calls.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static char me[4096], *address;

static int ended_well(pid_t pid) {
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int answer(int fd) {
    char room[8];
    return recv(fd, room, 4, MSG_WAITALL) == 4 && memcmp(room, "ping", 4) == 0 && send(fd, "pong", 4, MSG_NOSIGNAL) == 4;
}

static int asks(int fd) {
    char room[8];
    return send(fd, "ping", 4, MSG_NOSIGNAL) == 4 && recv(fd, room, 4, MSG_WAITALL) == 4 && memcmp(room, "pong", 4) == 0;
}

static int is_over(int fd) {
    char byte;
    return recv(fd, &byte, 1, 0) == 0;
}

static int give(int channel, int fd) {
    char byte = 'x';
    struct iovec vector = {&byte, 1};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {{0}};
    struct msghdr head = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&head);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(channel, &head, 0) == 1;
}

static int take(int channel) {
    char byte;
    struct iovec vector = {&byte, 1};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct msghdr head = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1;
    if (recvmsg(channel, &head, 0) != 1 || !CMSG_FIRSTHDR(&head)) return -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&head)), sizeof fd);
    return fd;
}

static pid_t start(const char *role, int fd) {
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    char *arguments[] = {me, address, (char *)role, number, NULL};
    pid_t pid = -1;
    CHECK(posix_spawn(&pid, me, NULL, NULL, arguments, environ) == 0);
    return pid;
}

// ---- What a round is made of.

static int listener;

static void connections(void) {
    static struct sockaddr_storage name;
    if (!listener) listener = listening(&name);
    for (int n = 0; n < 10; n++) {
        int client = socket(family(), SOCK_STREAM, 0);
        CHECK(connect(client, (struct sockaddr *)&name, self_len) == 0);
        int server = accept(listener, NULL, NULL);
        CHECK(send(client, "ping", 4, 0) == 4 && answer(server));
        // One end or the other first, or with bytes that nobody read.
        if (n % 3) close(client), close(server);
        else close(server), close(client);
    }
}

static void datagrams(void) {
    int one = fresh(SOCK_DGRAM), other = socket(family(), SOCK_DGRAM, 0);
    struct sockaddr_storage name = name_of(one);
    char room[8];
    CHECK(sendto(other, "ping", 4, 0, (struct sockaddr *)&name, self_len) == 4 && recv(one, room, 8, 0) == 4);
    close(one), close(other);
}

static void sets(void) {
    int ends[2], set = epoll_create1(0);
    connection(ends);
    struct epoll_event event = {EPOLLIN, {.fd = ends[1]}}, seen;
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends[1], &event) == 0 && send(ends[0], "ping", 4, 0) == 4);
    CHECK(epoll_wait(set, &seen, 1, 5000) == 1 && answer(ends[1]) && ready(ends[0], POLLIN, 5000) == POLLIN);
    // Closed in the set, or the set first.
    static int turn;
    if (turn++ % 2) close(set), finish(ends);
    else finish(ends), close(set);
}

static void children(void) {
    int ends[2];
    connection(ends);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        // One of its own, and a child of its own, which has both.
        int own[2];
        connection(own);
        pid_t grandchild = fork();
        if (grandchild == 0) _exit(!(answer(own[1]) && answer(ends[1])));
        close(ends[1]), close(own[1]);
        _exit(!(asks(own[0]) && ended_well(grandchild) && is_over(own[0])));
    }
    close(ends[1]);
    CHECK(asks(ends[0]) && ended_well(pid) && is_over(ends[0]));
    close(ends[0]);
}

static void executed(void) {
    int ends[2];
    connection(ends);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = start("executed", ends[1]);
    close(ends[1]);
    CHECK(asks(ends[0]) && ended_well(pid) && is_over(ends[0]));
    close(ends[0]);
}

static void given(void) {
    int channel[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel) == 0);
    fcntl(channel[0], F_SETFD, FD_CLOEXEC);
    pid_t pid = start("giver", channel[1]);
    close(channel[1]);
    int fd = take(channel[0]);
    CHECK(fd >= 0 && answer(fd) && write(channel[0], "k", 1) == 1);
    // Its maker ends, and with it the other end; what lies in its memory is here still.
    CHECK(ended_well(pid) && is_over(fd));
    close(fd), close(channel[0]);
}

static void killed(void) {
    int ends[2];
    connection(ends);
    pid_t pid = fork();
    if (pid == 0) {
        // Its parent must not be given connections that it left behind.
        close(listener), listener = 0;
        for (;;) connections(), datagrams(), sets();
    }
    close(ends[1]);
    usleep(2000);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid && is_over(ends[0]));
    close(ends[0]);
}

static void *waits(void *fd) {
    char byte;
    ssize_t got = recv(*(int *)fd, &byte, 1, 0);
    return (void *)(got == 0);
}

static void threads(void) {
    int ends[2];
    connection(ends);
    pthread_t one, other;
    CHECK(pthread_create(&one, NULL, waits, &ends[0]) == 0 && pthread_create(&other, NULL, waits, &ends[0]) == 0);
    usleep(500);
    // Closed here while they wait; it ends when they do.
    int fd = ends[0];
    close(fd);
    close(ends[1]);
    void *ended[2];
    CHECK(pthread_join(one, &ended[0]) == 0 && pthread_join(other, &ended[1]) == 0);
}

static void one_round(int number) {
    connections(), datagrams(), sets();
    if (number % 4 == 0) children(), threads();
    if (number % 8 == 0) given(), executed(), killed();
}

// ---- What it costs.

static int lines_of(const char *path, const char *word) {
    FILE *file = fopen(path, "r");
    char line[512];
    int count = 0;
    while (fgets(line, sizeof line, file)) count += !word || strstr(line, word) != NULL;
    fclose(file);
    return count;
}

static int descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 4096; fd++) count += fcntl(fd, F_GETFD) != -1;
    char path[64];
    for (int fd = 0; fd < 4096; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        count += access(path, F_OK) == 0;
    }
    return count;
}

static long resident(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long size, pages = 0, shared;
    CHECK(fscanf(file, "%ld %ld %ld", &size, &pages, &shared) == 3);
    fclose(file);
    // Rings that were touched are the service's memory, which takes it back.
    return (pages - shared) * 4;
}

static void churn(int rounds) {
    int first = rounds / 4;
    for (int n = 0; n < first; n++) one_round(n);
    int maps = lines_of("/proc/self/maps", NULL), arenas = lines_of("/proc/self/maps", "flumen-arena");
    int fds = descriptors();
    long memory = resident();
    for (int n = first; n < rounds; n++) one_round(n);
    int maps_now = lines_of("/proc/self/maps", NULL), arenas_now = lines_of("/proc/self/maps", "flumen-arena");
    int fds_now = descriptors();
    long memory_now = resident();
    // The kernel's sockets behind closed ones are kept for the next, 32 at most; one lost in a round would be 225.
    CHECK(arenas_now == arenas && maps_now <= maps + 2 && fds_now <= fds + 32 && memory_now < memory + 512);
    printf("maps %d %d, arenas %d %d, descriptors %d %d, KiB %ld %ld\n", maps, maps_now, arenas, arenas_now, fds, fds_now,
           memory, memory_now);
}

// A child of a child of a child, and so on, each with a socket of its own: it has the memory of its own attachment mapped and of those
// that sockets of its live in, but not of all before it.
static int generation(int number) {
    int ends[2];
    connection(ends);
    pid_t pid = fork();
    if (pid == 0) {
        // Of the parent's: its connection, for a moment.
        if (lines_of("/proc/self/maps", "flumen-arena") > 3) _exit(1);
        CHECK(send(ends[0], "ping", 4, 0) == 4 && answer(ends[1]));
        finish(ends);
        connection(ends);
        int arenas = lines_of("/proc/self/maps", "flumen-arena");
        if (arenas > 2) printf("generation %d has %d arenas\n", number, arenas);
        finish(ends);
        if (arenas > 2 || failed) _exit(1);
        _exit(number ? generation(number - 1) : 0);
    }
    finish(ends);
    return !ended_well(pid);
}

int main(int count, char **arguments) {
    if (!begin(count, arguments)) return 2;
    alarm(120);
    address = arguments[1];
    signal(SIGPIPE, SIG_IGN);
    me[readlink("/proc/self/exe", me, sizeof me - 1)] = 0;
    if (count == 4 && strcmp(arguments[2], "executed") == 0) return !answer(atoi(arguments[3]));
    if (count == 4 && strcmp(arguments[2], "giver") == 0) {
        int ends[2], channel = atoi(arguments[3]);
        char byte;
        connection(ends);
        if (!give(channel, ends[1]) || close(ends[1]) || !asks(ends[0]) || read(channel, &byte, 1) != 1) return 1;
        return failed != 0;
    }
    CHECK(generation(8) == 0);
    churn(atoi(arguments[2]));
    return end();
}
