// Waiting and being interrupted, and the flags that say how something is sent. The same on the kernel's sockets and on Flumen's.
//
//   waiting ADDRESS
#include "calls.h"

#include <linux/errqueue.h>
#include <stdatomic.h>
#include <sys/select.h>
#include <sys/syscall.h>

#ifndef EPOLLEXCLUSIVE
#define EPOLLEXCLUSIVE (1u << 28)
#endif

static sigset_t only(int number) {
    sigset_t set;
    sigemptyset(&set);
    if (number) sigaddset(&set, number);
    return set;
}

// Sets of bits and of epoll, with another mask while they wait: a signal that was held back comes then, and only then.
static void masks(void) {
    int ends[2];
    connection(ends);
    handler(SIGUSR1, 0);
    sigset_t usr1 = only(SIGUSR1), none = only(0), before;
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.u64 = 7}}, seen[2];
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0);
    for (int round = 0; round < 2; round++) {
        struct timespec no_time = {0, 0}, some = {0, 30000000}, wrong = {0, 1000000000}, long_time = {5, 0};
        struct timespec begin, end;
        fd_set read_set;
        FD_ZERO(&read_set);
        FD_SET(ends[0], &read_set);
        CHECK(pselect(ends[0] + 1, &read_set, NULL, NULL, &no_time, NULL) == 0 && !FD_ISSET(ends[0], &read_set));
        CHECK(epoll_pwait2(set, seen, 2, &no_time, NULL) == 0);
        FD_SET(ends[0], &read_set);
        FAILS(pselect(ends[0] + 1, &read_set, NULL, NULL, &wrong, NULL), EINVAL);
        FAILS(epoll_pwait2(set, seen, 2, &wrong, NULL), EINVAL);
        clock_gettime(CLOCK_MONOTONIC, &begin);
        CHECK(pselect(ends[0] + 1, &read_set, NULL, NULL, &some, NULL) == 0);
        CHECK(epoll_pwait2(set, seen, 2, &some, NULL) == 0);
        clock_gettime(CLOCK_MONOTONIC, &end);
        CHECK((end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec >= 60000000L);
        CHECK(some.tv_nsec == 30000000);
        signals = 0;
        kill(getpid(), SIGUSR1);
        CHECK(epoll_pwait2(set, seen, 2, &some, NULL) == 0 && signals == 0);
        FD_SET(ends[0], &read_set);
        if (round)
            FAILS(epoll_pwait2(set, seen, 2, &long_time, &none), EINTR);
        else
            FAILS(pselect(ends[0] + 1, &read_set, NULL, NULL, NULL, &none), EINTR);
        CHECK(signals == 1);
        kill(getpid(), SIGUSR1);
        FAILS(epoll_pwait(set, seen, 2, 5000, &none), EINTR);
        CHECK(signals == 2);
        kill(getpid(), SIGUSR1);
        struct pollfd one = {ends[0], POLLIN, 0};
        FAILS(ppoll(&one, 1, &long_time, &none), EINTR);
        CHECK(signals == 3);
        CHECK(send(ends[1], "now", 3, 0) == 3);
        FD_ZERO(&read_set);
        FD_SET(ends[0], &read_set);
        FD_SET(ends[1], &read_set);
        int most = ends[0] > ends[1] ? ends[0] : ends[1];
        fd_set write_set = read_set;
        CHECK(ready(ends[0], POLLIN, 2000) == POLLIN);
        CHECK(pselect(most + 1, &read_set, &write_set, NULL, &long_time, &usr1) == 3);
        CHECK(FD_ISSET(ends[0], &read_set) && !FD_ISSET(ends[1], &read_set));
        CHECK(FD_ISSET(ends[0], &write_set) && FD_ISSET(ends[1], &write_set));
        CHECK(epoll_pwait2(set, seen, 2, NULL, &usr1) == 1 && seen[0].data.u64 == 7 && seen[0].events == EPOLLIN);
        char room[4];
        CHECK(recv(ends[0], room, 3, 0) == 3);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(set);
    finish(ends);
}

// True once a thread of this process sleeps.
static int sleeps(int thread) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    int fd = open(path, O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    char *state = strrchr(text, ')');
    return got > 0 && state && state[2] == 'S';
}

#define SLEEPERS 4
static atomic_int threads[SLEEPERS], woken;
static int watched;

static void *waits_in_a_set_of_its_own(void *place) {
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE, {.u64 = 1}}, seen;
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, watched, &event) == 0);
    atomic_store((atomic_int *)place, (int)syscall(SYS_gettid));
    if (epoll_wait(set, &seen, 1, 1500) == 1) {
        atomic_fetch_add(&woken, 1);
        // Time for the others, if they were woken, too.
        usleep(300000);
        int taken = accept(watched, NULL, NULL);
        if (taken >= 0) close(taken);
    }
    close(set);
    return NULL;
}

// Of many that wait for one listener, each in a set of its own, a connection wakes one or more, and not all (epoll_ctl(2)).
static void exclusive(void) {
    struct sockaddr_storage name;
    pthread_t all[SLEEPERS];
    watched = listening(&name);
    CHECK(fcntl(watched, F_SETFL, O_NONBLOCK) == 0);
    for (int n = 0; n < SLEEPERS; n++) pthread_create(&all[n], NULL, waits_in_a_set_of_its_own, &threads[n]);
    for (int n = 0; n < SLEEPERS; n++)
        while (!atomic_load(&threads[n]) || !sleeps(atomic_load(&threads[n]))) usleep(1000);
    int fd = socket(family(), SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&name, self_len) == 0);
    for (int n = 0; n < SLEEPERS; n++) pthread_join(all[n], NULL);
    CHECK(atomic_load(&woken) >= 1 && atomic_load(&woken) < SLEEPERS);
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, {.u64 = 1}};
    FAILS(epoll_ctl(set, EPOLL_CTL_ADD, watched, &event), EINVAL);
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, watched, &event) == 0);
    FAILS(epoll_ctl(set, EPOLL_CTL_MOD, watched, &event), EINVAL);
    close(fd), close(watched), close(set);
}

// MSG_MORE holds bytes back until there is a segment, or more comes without it.
static void more_to_come(void) {
    int ends[2];
    char room[8];
    connection(ends);
    CHECK(send(ends[0], "ab", 2, MSG_MORE) == 2 && send(ends[0], "cd", 2, MSG_MORE) == 2);
    CHECK(ready(ends[1], POLLIN, 20) == 0);
    CHECK(send(ends[0], "ef", 2, 0) == 2);
    CHECK(ready(ends[1], POLLIN, 2000) == POLLIN);
    CHECK(recv(ends[1], room, 8, 0) == 6 && memcmp(room, "abcdef", 6) == 0);
    // Not for ever.
    CHECK(send(ends[0], "gh", 2, MSG_MORE) == 2 && ready(ends[1], POLLIN, 2000) == POLLIN);
    CHECK(recv(ends[1], room, 8, 0) == 2);
    // What is held back leaves with the end.
    CHECK(send(ends[0], "ij", 2, MSG_MORE) == 2 && shutdown(ends[0], SHUT_WR) == 0);
    CHECK(recv(ends[1], room, 8, MSG_WAITALL) == 2);
    finish(ends);
}

// What stands in the error queue of a socket.
struct told {
    struct sock_extended_err error;
    struct sockaddr_storage offender, to;
    char quoted[64];
    ssize_t len;
    int flags;
};

static int tells(int fd, struct told *told) {
    char control[512];
    struct iovec vector = {told->quoted, sizeof told->quoted};
    struct msghdr message = {&told->to, sizeof told->to, &vector, 1, control, sizeof control, 0};
    memset(told, 0, sizeof *told);
    message.msg_iov->iov_base = told->quoted;
    told->len = recvmsg(fd, &message, MSG_ERRQUEUE);
    told->flags = message.msg_flags;
    if (told->len < 0) return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        int v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
        if (!v4 && !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) continue;
        struct sock_extended_err *error = (struct sock_extended_err *)CMSG_DATA(c);
        told->error = *error;
        memcpy(&told->offender, SO_EE_OFFENDER(error), v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        return 1;
    }
    return 0;
}

static void errors_of_datagrams(void) {
    int v4 = family() == AF_INET, on = 1, fd = fresh(SOCK_DGRAM), closed = fresh(SOCK_DGRAM);
    struct sockaddr_storage to = name_of(closed);
    close(closed);
    struct told told;
    char byte;
    CHECK(setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, &on, sizeof on) == 0);
    CHECK(!tells(fd, &told) && told.len == -1);
    for (int connected = 0; connected < 2; connected++) {
        if (connected) CHECK(connect(fd, (struct sockaddr *)&to, self_len) == 0);
        CHECK(sendto(fd, "nobody", 6, 0, (struct sockaddr *)&to, self_len) == 6);
        CHECK(ready(fd, POLLIN, 2000) == POLLERR);
        CHECK(tells(fd, &told) && told.flags == MSG_ERRQUEUE);
        CHECK(told.len == 6 && memcmp(told.quoted, "nobody", 6) == 0);
        CHECK(told.error.ee_errno == ECONNREFUSED);
        CHECK(told.error.ee_origin == (v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6));
        CHECK(told.error.ee_type == (v4 ? 3 : 1) && told.error.ee_code == (v4 ? 3 : 4));
        CHECK(*port_of(&told.to) == *port_of(&to) && same_host(&told.to, &to) && same_host(&told.offender, &self));
        // Taken from the queue it is no error of the socket any more.
        CHECK(!tells(fd, &told) && told.len == -1);
        FAILS(recv(fd, &byte, 1, MSG_DONTWAIT), EAGAIN);
        CHECK(ready(fd, POLLIN, 0) == 0);
    }
    // While another one waits in the queue there is an error. (A call in between may have heard of the first.)
    int heard = 0;
    for (int sent = 0; sent < 2;) {
        if (sendto(fd, "nobody", 6, 0, (struct sockaddr *)&to, self_len) == 6) sent++;
        else if (errno == ECONNREFUSED) heard++;
        else break;
    }
    usleep(100000);
    CHECK(tells(fd, &told));
    if (!heard) FAILS(recv(fd, &byte, 1, MSG_DONTWAIT), ECONNREFUSED);
    CHECK(tells(fd, &told));
    FAILS(recv(fd, &byte, 1, MSG_DONTWAIT), EAGAIN);
    close(fd);
}

static void without_a_copy(void) {
    int ends[2], on = 1, value = 9;
    socklen_t size = sizeof value;
    char room[4096], bytes[4096];
    struct told told;
    memset(bytes, 'z', sizeof bytes);
    connection(ends);
    CHECK(send(ends[0], bytes, sizeof bytes, MSG_ZEROCOPY) == sizeof bytes);
    CHECK(recv(ends[1], room, sizeof room, MSG_WAITALL) == sizeof room && ready(ends[0], 0, 50) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &value, &size) == 0 && value == 1);
    unsigned next = 0;
    for (int round = 0; round < 3; round++) {
        CHECK(send(ends[0], bytes, sizeof bytes, MSG_ZEROCOPY) == sizeof bytes);
        CHECK(send(ends[0], bytes, sizeof bytes, MSG_ZEROCOPY) == sizeof bytes);
        for (int half = 0; half < 2; half++)
            CHECK(recv(ends[1], room, sizeof room, MSG_WAITALL) == sizeof room && memcmp(room, bytes, sizeof room) == 0);
        // One notice for both, or one for each: the numbers go on without a gap.
        while (next < 2u * round + 2) {
            CHECK(ready(ends[0], POLLERR, 2000) & POLLERR);
            int got = tells(ends[0], &told);
            CHECK(got && told.error.ee_origin == SO_EE_ORIGIN_ZEROCOPY && told.error.ee_errno == 0 && told.len == 0);
            CHECK(told.error.ee_info == next && told.error.ee_data >= next && told.error.ee_data < 2u * round + 2);
            if (!got) break;
            next = told.error.ee_data + 1;
        }
        CHECK(ready(ends[0], POLLERR, 0) == 0);
    }
    finish(ends);
}

// Signals until something is done that ends the wait.
static void (*done)(void);
static int done_with;

static void *disturbs(void *nothing) {
    for (int round = 0; round < 8; round++) {
        usleep(20000);
        kill(getpid(), SIGUSR1);
    }
    if (done) done();
    return nothing;
}

static struct sockaddr_storage done_to;
static void connects(void) { connect(done_with, (struct sockaddr *)&done_to, self_len); }
static void reads_all(void) {
    static char room[1 << 16];
    struct timeval soon = {0, 300000};
    setsockopt(done_with, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    while (recv(done_with, room, sizeof room, 0) > 0) {
    }
}

static pthread_t disturbed(int restarts, void (*ends_with)(void)) {
    pthread_t thread;
    sigset_t usr1 = only(SIGUSR1);
    handler(SIGUSR1, restarts ? SA_RESTART : 0);
    done = ends_with, signals = 0;
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    pthread_create(&thread, NULL, disturbs, NULL);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    return thread;
}

static void interrupted(void) {
    struct sockaddr_storage silent = self;
    for (int restarts = 0; restarts < 2; restarts++) {
        // accept
        int listener = listening(&done_to);
        done_with = socket(family(), SOCK_STREAM, 0);
        pthread_t thread = disturbed(restarts, connects);
        if (restarts) {
            int taken = accept(listener, NULL, NULL);
            CHECK(taken >= 0 && signals > 1);
            close(taken);
        } else
            FAILS(accept(listener, NULL, NULL), EINTR);
        pthread_join(thread, NULL);
        close(done_with), close(listener);
        // accept with a time: never begun again.
        listener = listening(&done_to);
        patience(listener, SO_RCVTIMEO, 5000);
        thread = disturbed(restarts, NULL);
        FAILS(accept(listener, NULL, NULL), EINTR);
        pthread_join(thread, NULL);
        close(listener);
        // connect, to where nobody answers; with a time it is never begun again either.
        ((unsigned char *)(family() == AF_INET ? (void *)&((struct sockaddr_in *)&silent)->sin_addr
                                               : (void *)&((struct sockaddr_in6 *)&silent)->sin6_addr))[family() == AF_INET ? 3 : 15] = 0x77;
        *port_of(&silent) = htons(9);
        int fd = socket(family(), SOCK_STREAM, 0);
        if (restarts) patience(fd, SO_SNDTIMEO, 5000);
        thread = disturbed(restarts, NULL);
        FAILS(connect(fd, (struct sockaddr *)&silent, self_len), EINTR);
        // It goes on by itself.
        CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
        FAILS(connect(fd, (struct sockaddr *)&silent, self_len), EALREADY);
        pthread_join(thread, NULL);
        close(fd);
        // send, when there is no room.
        int ends[2];
        static char much[1 << 16];
        connection(ends);
        while (send(ends[0], much, sizeof much, MSG_DONTWAIT) > 0) {
        }
        done_with = ends[1];
        thread = disturbed(restarts, reads_all);
        // (Room for some of it may come a moment later. Nobody reads all before the signals are over.)
        static char very_much[8 << 20];
        long sent = send(ends[0], very_much, sizeof very_much, 0);
        if (sent > 0)
            CHECK(restarts || sent < (long)sizeof very_much);
        else {
            int why = errno;
            CHECK(!restarts && why == EINTR);
        }
        pthread_join(thread, NULL);
        finish(ends);
    }
}

int main(int count, char **arguments) {
    if (!begin(count, arguments)) return 2;
    masks();
    exclusive();
    more_to_come();
    errors_of_datagrams();
    without_a_copy();
    interrupted();
    return end();
}
