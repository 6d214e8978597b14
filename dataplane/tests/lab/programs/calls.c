// What socket calls do, on an address given as the argument: the same on the kernel's sockets and on Flumen's.
//
//   calls ADDRESS
#include "calls.h"

static void names(void) {
    struct sockaddr_storage name, peer;
    socklen_t len = sizeof peer;
    int listener = listening(&name), fd = socket(family(), SOCK_STREAM, 0);
    CHECK(*port_of(&name) != 0 && same_host(&name, &self));
    FAILS(bind(listener, (struct sockaddr *)&self, self_len), EINVAL);
    FAILS(bind(fd, (struct sockaddr *)&name, self_len), EADDRINUSE);
    FAILS(bind(fd, (struct sockaddr *)&name, 3), EINVAL);
    FAILS(getpeername(fd, (struct sockaddr *)&peer, &len), ENOTCONN);
    CHECK(connect(fd, (struct sockaddr *)&name, self_len) == 0);
    FAILS(connect(fd, (struct sockaddr *)&name, self_len), EISCONN);
    int taken = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(taken >= 0 && len == self_len);
    struct sockaddr_storage client = name_of(fd);
    CHECK(*port_of(&peer) == *port_of(&client) && same_host(&peer, &client));
    CHECK(getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && *port_of(&peer) == *port_of(&name));
    CHECK(fcntl(taken, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(taken, F_GETFD) & FD_CLOEXEC);
    char byte;
    FAILS(recv(taken, &byte, 1, 0), EAGAIN);
    FAILS(recv(listener, &byte, 1, 0), ENOTCONN);
    CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
    FAILS(accept(listener, NULL, NULL), EAGAIN);
    FAILS(accept(fd, NULL, NULL), EINVAL);
    int on = 0;
    socklen_t size = sizeof on;
    CHECK(getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) == 0 && on == 1);
    close(fd), close(taken), close(listener);
}

static void refused(void) {
    struct sockaddr_storage name;
    close(listening(&name));
    int fd = socket(family(), SOCK_STREAM, 0), error = 1;
    socklen_t size = sizeof error;
    FAILS(connect(fd, (struct sockaddr *)&name, self_len), ECONNREFUSED);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
    close(fd);
    fd = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0);
    error = connect(fd, (struct sockaddr *)&name, self_len) ? errno : 0;
    CHECK(error == EINPROGRESS || error == ECONNREFUSED);
    if (error == EINPROGRESS) {
        CHECK(ready(fd, POLLOUT, 2000) & POLLERR);
        CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == ECONNREFUSED);
    }
    close(fd);
}

// (A compiler that sees it says that it is wrong.)
static volatile int minus_one = -1;

static void bytes(void) {
    int ends[2], waiting = 0;
    char room[64];
    connection(ends);
    CHECK(send(ends[0], "hello, world", 12, 0) == 12);
    CHECK(recv(ends[1], room, 12, MSG_WAITALL | MSG_PEEK) == 12 && memcmp(room, "hello, world", 12) == 0);
    CHECK(ioctl(ends[1], FIONREAD, &waiting) == 0 && waiting == 12);
    struct iovec two[2] = {{room, 5}, {room + 20, 7}};
    CHECK(readv(ends[1], two, 2) == 12 && memcmp(room, "hello", 5) == 0 && memcmp(room + 20, ", world", 7) == 0);
    FAILS(recv(ends[1], room, 1, MSG_DONTWAIT), EAGAIN);
    FAILS(recv(ends[1], room, 0, MSG_DONTWAIT), EAGAIN);
    CHECK(read(ends[1], room, 0) == 0);
    CHECK(writev(ends[0], two, 2) == 12);
    CHECK(recv(ends[1], NULL, 12, MSG_TRUNC | MSG_WAITALL) == 12);
    FAILS(pread(ends[1], room, 1, 0), ESPIPE);
    FAILS(lseek(ends[1], 0, SEEK_CUR), ESPIPE);
    FAILS(readv(ends[1], two, minus_one), EINVAL);
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    CHECK(send(ends[0], "x", 1, 0) == 1);
    CHECK(recvfrom(ends[1], room, 1, 0, (struct sockaddr *)&from, &len) == 1 && len == 0);
    finish(ends);
}

static void times(void) {
    int ends[2];
    char byte;
    struct timespec begin, end;
    connection(ends);
    patience(ends[0], SO_RCVTIMEO, 60);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    FAILS(recv(ends[0], &byte, 1, 0), EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec >= 55000000L);
    struct timeval time = {9, 9};
    socklen_t size = sizeof time;
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, &size) == 0 && size == sizeof time);
    CHECK(time.tv_sec == 0 && time.tv_usec == 60000);
    patience(ends[0], SO_SNDTIMEO, 60);
    static char much[1 << 20];
    long sent = 0, got;
    while ((got = send(ends[0], much, sizeof much, 0)) > 0) sent += got;
    int why = errno;
    CHECK(got == -1 && why == EAGAIN && sent > 0);
    patience(ends[1], SO_RCVTIMEO, 300);
    long heard = 0;
    while (heard < sent && (got = recv(ends[1], much, sizeof much, 0)) > 0) heard += got;
    CHECK(heard == sent);
    finish(ends);
}

static void *later(void *end) {
    for (int round = 0; round < 10; round++) {
        usleep(10000);
        kill(getpid(), SIGUSR1);
    }
    send(*(int *)end, "z", 1, MSG_NOSIGNAL);
    return NULL;
}

static void interrupted(void) {
    int ends[2];
    char byte;
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    for (int restarts = 0; restarts < 3; restarts++) {
        pthread_t thread;
        connection(ends);
        if (restarts == 2) patience(ends[0], SO_RCVTIMEO, 5000);
        handler(SIGUSR1, restarts ? SA_RESTART : 0);
        pthread_sigmask(SIG_BLOCK, &usr1, NULL);
        pthread_create(&thread, NULL, later, &ends[1]);
        pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
        if (restarts == 1)
            CHECK(recv(ends[0], &byte, 1, 0) == 1 && byte == 'z');
        else
            FAILS(recv(ends[0], &byte, 1, 0), EINTR);
        pthread_join(thread, NULL);
        finish(ends);
    }
}

static void over(void) {
    int ends[2];
    char byte;
    connection(ends);
    CHECK(send(ends[0], "last", 4, 0) == 4);
    CHECK(shutdown(ends[0], SHUT_WR) == 0);
    CHECK(ready(ends[1], POLLIN | POLLRDHUP, 2000) & POLLIN);
    char room[8];
    CHECK(recv(ends[1], room, 8, MSG_WAITALL) == 4);
    CHECK(recv(ends[1], room, 8, 0) == 0 && recv(ends[1], room, 8, 0) == 0);
    CHECK(ready(ends[1], POLLIN | POLLOUT | POLLRDHUP, 2000) == (POLLIN | POLLOUT | POLLRDHUP));
    CHECK(send(ends[1], "still", 5, 0) == 5 && recv(ends[0], room, 8, 0) == 5);
    handler(SIGPIPE, 0);
    signals = 0;
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(signals == 0);
    FAILS(write(ends[0], "x", 1), EPIPE);
    CHECK(signals == 1);
    FAILS(shutdown(ends[0], 7), EINVAL);
    finish(ends);
    // Unread data at the end are a reset.
    connection(ends);
    CHECK(send(ends[0], "unread", 6, 0) == 6 && ready(ends[1], POLLIN, 2000) == POLLIN);
    close(ends[1]);
    CHECK(ready(ends[0], POLLIN, 2000) & POLLHUP);
    FAILS(recv(ends[0], &byte, 1, 0), ECONNRESET);
    CHECK(recv(ends[0], &byte, 1, 0) == 0);
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    close(ends[0]);
    // So is a linger time of zero.
    connection(ends);
    struct linger none = {1, 0}, some = {1, 5};
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    close(ends[0]);
    FAILS(recv(ends[1], &byte, 1, 0), ECONNRESET);
    close(ends[1]);
    connection(ends);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &some, sizeof some) == 0);
    CHECK(send(ends[0], "wait", 4, 0) == 4 && close(ends[0]) == 0);
    CHECK(recv(ends[1], room, 8, MSG_WAITALL) == 4);
    close(ends[1]);
}

static void urgent(void) {
    int ends[2], mark = 1;
    char room[16];
    connection(ends);
    CHECK(send(ends[0], "abc", 3, MSG_OOB) == 3);
    CHECK(ready(ends[1], POLLPRI, 2000) == POLLPRI);
    CHECK(recv(ends[1], room, 1, MSG_OOB) == 1 && room[0] == 'c');
    FAILS(recv(ends[1], room, 1, MSG_OOB), EINVAL);
    CHECK(ioctl(ends[1], SIOCATMARK, &mark) == 0 && mark == 0);
    CHECK(send(ends[0], "de", 2, 0) == 2);
    CHECK(recv(ends[1], room, 16, 0) == 2 && memcmp(room, "ab", 2) == 0);
    CHECK(ioctl(ends[1], SIOCATMARK, &mark) == 0 && mark == 1);
    CHECK(recv(ends[1], room, 2, MSG_WAITALL) == 2 && memcmp(room, "de", 2) == 0);
    finish(ends);
}

static void shared(void) {
    int ends[2];
    char byte;
    connection(ends);
    int other = dup(ends[0]), third = fcntl(ends[0], F_DUPFD_CLOEXEC, 100);
    CHECK(other >= 0 && third >= 100);
    CHECK(fcntl(other, F_SETFL, O_NONBLOCK) == 0 && fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    FAILS(recv(third, &byte, 1, 0), EAGAIN);
    int off = 0;
    CHECK(ioctl(third, FIONBIO, &off) == 0 && !(fcntl(ends[0], F_GETFL) & O_NONBLOCK));
    close(ends[0]), close(other);
    CHECK(send(ends[1], "y", 1, 0) == 1 && recv(third, &byte, 1, 0) == 1);
    CHECK(dup2(third, 200) == 200 && close_range(100, 199, 0) == 0);
    FAILS(send(third, "y", 1, 0), EBADF);
    CHECK(send(200, "y", 1, 0) == 1 && recv(ends[1], &byte, 1, 0) == 1);
    int null = open("/dev/null", O_RDWR);
    CHECK(dup2(null, 200) == 200 && recv(ends[1], &byte, 1, 0) == 0);
    struct stat status;
    CHECK(fstat(ends[1], &status) == 0 && S_ISSOCK(status.st_mode) && !isatty(ends[1]));
    close(200), close(null), close(ends[1]);
}

static void files(void) {
    int ends[2], pipe_ends[2];
    char path[] = "/tmp/calls-XXXXXX", room[32];
    connection(ends);
    int file = mkstemp(path);
    unlink(path);
    CHECK(write(file, "0123456789", 10) == 10);
    off_t at = 2;
    CHECK(sendfile(ends[0], file, &at, 5) == 5 && at == 7 && lseek(file, 0, SEEK_CUR) == 10);
    CHECK(recv(ends[1], room, 5, MSG_WAITALL) == 5 && memcmp(room, "23456", 5) == 0);
    CHECK(lseek(file, 8, SEEK_SET) == 8 && sendfile(ends[0], file, NULL, 100) == 2 && lseek(file, 0, SEEK_CUR) == 10);
    CHECK(recv(ends[1], room, 2, MSG_WAITALL) == 2 && memcmp(room, "89", 2) == 0);
    CHECK(pipe(pipe_ends) == 0 && write(pipe_ends[1], "through", 7) == 7);
    CHECK(splice(pipe_ends[0], NULL, ends[0], NULL, 100, 0) == 7);
    CHECK(ready(ends[1], POLLIN, 2000) == POLLIN && splice(ends[1], NULL, pipe_ends[1], NULL, 100, 0) == 7);
    CHECK(read(pipe_ends[0], room, 32) == 7 && memcmp(room, "through", 7) == 0);
    FILE *stream = fdopen(dup(ends[0]), "r+");
    CHECK(stream && fprintf(stream, "line %d\n", 1) == 7 && fflush(stream) == 0);
    CHECK(recv(ends[1], room, 7, MSG_WAITALL) == 7 && send(ends[1], "back\n", 5, 0) == 5);
    CHECK(fgets(room, sizeof room, stream) && strcmp(room, "back\n") == 0 && fileno(stream) >= 0);
    fclose(stream), close(file), close(pipe_ends[0]), close(pipe_ends[1]);
    finish(ends);
}

static void datagrams(void) {
    int one = fresh(SOCK_DGRAM), other = fresh(SOCK_DGRAM), on = 1;
    struct sockaddr_storage to = name_of(other), mine = name_of(one), from;
    char room[8], control[256];
    FAILS(send(one, "x", 1, 0), EDESTADDRREQ);
    CHECK(sendto(one, "datagram", 8, 0, (struct sockaddr *)&to, self_len) == 8);
    CHECK(sendto(one, "", 0, 0, (struct sockaddr *)&to, self_len) == 0);
    int v4 = family() == AF_INET, level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    CHECK(setsockopt(other, level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    CHECK(setsockopt(other, level, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, &on, sizeof on) == 0);
    CHECK(setsockopt(other, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on) == 0);
    int next = 0;
    CHECK(ready(other, POLLIN, 2000) == POLLIN && ioctl(other, FIONREAD, &next) == 0 && next == 8);
    struct iovec vector = {room, 4};
    struct msghdr message = {&from, sizeof from, &vector, 1, control, sizeof control, 0};
    CHECK(recvmsg(other, &message, MSG_PEEK) == 4 && message.msg_flags == MSG_TRUNC);
    message.msg_controllen = sizeof control;
    CHECK(recvmsg(other, &message, MSG_TRUNC) == 8 && *port_of(&from) == *port_of(&mine));
    int seen = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == level && c->cmsg_type == (v4 ? IP_TTL : IPV6_HOPLIMIT))
            seen |= *(int *)CMSG_DATA(c) == 64 ? 1 : 0;
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP) seen |= 2;
        if (c->cmsg_level == level && c->cmsg_type == (v4 ? IP_PKTINFO : IPV6_PKTINFO)) {
            void *to_whom = v4 ? (void *)&((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr
                               : (void *)&((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr;
            void *us = v4 ? (void *)&((struct sockaddr_in *)&self)->sin_addr
                          : (void *)&((struct sockaddr_in6 *)&self)->sin6_addr;
            seen |= memcmp(to_whom, us, v4 ? 4 : 16) == 0 ? 4 : 0;
        }
    }
    CHECK(seen == 7);
    message.msg_controllen = 8;
    CHECK(recvmsg(other, &message, 0) == 0 && message.msg_flags == MSG_CTRUNC && message.msg_controllen == 0);
    FAILS(recv(other, room, 8, MSG_DONTWAIT), EAGAIN);
    CHECK(connect(one, (struct sockaddr *)&to, self_len) == 0 && send(one, "x", 1, 0) == 1);
    CHECK(recv(other, room, 8, 0) == 1);
    static char long_one[70000];
    FAILS(send(one, long_one, sizeof long_one, 0), EMSGSIZE);
    // IPv6 takes it for a datagram like any other.
    if (v4)
        FAILS(send(one, "x", 1, MSG_OOB), EOPNOTSUPP);
    else
        CHECK(send(one, "x", 1, MSG_OOB) == 1 && recv(other, room, 8, 0) == 1);
    CHECK(send(one, long_one, 60000, 0) == 60000 && recv(other, long_one, sizeof long_one, 0) == 60000);
    // MSG_MORE gathers.
    CHECK(send(one, "to", 2, MSG_MORE) == 2 && send(one, "gether", 6, 0) == 6);
    CHECK(recv(other, room, 8, 0) == 8 && memcmp(room, "together", 8) == 0);
    struct mmsghdr many[3];
    struct iovec vectors[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    memset(many, 0, sizeof many);
    for (int n = 0; n < 3; n++) many[n].msg_hdr.msg_iov = &vectors[n], many[n].msg_hdr.msg_iovlen = 1;
    CHECK(sendmmsg(one, many, 3, 0) == 3 && many[2].msg_len == 3);
    char rooms[3][8];
    for (int n = 0; n < 3; n++) vectors[n] = (struct iovec){rooms[n], 8};
    usleep(50000);
    CHECK(recvmmsg(other, many, 3, MSG_WAITFORONE, NULL) == 3 && many[1].msg_len == 2);
    // Nobody is there any more.
    close(other);
    CHECK(send(one, "x", 1, 0) == 1 && ready(one, 0, 2000) & POLLERR);
    FAILS(recv(one, room, 8, 0), ECONNREFUSED);
    struct sockaddr none = {AF_UNSPEC, ""};
    CHECK(connect(one, &none, sizeof none) == 0);
    FAILS(send(one, "x", 1, 0), EDESTADDRREQ);
    close(one);
}

static in_port_t asks_port(int fd) {
    struct sockaddr_storage name = name_of(fd);
    return *port_of(&name);
}

// A namespace where the kernel's IPv6 is off has no ::1.
static int has_loopback(void) {
    struct sockaddr_storage name = self;
    elsewhere(&name, 1);
    int fd = socket(family(), SOCK_DGRAM, 0), bound = bind(fd, (struct sockaddr *)&name, self_len);
    close(fd);
    return bound == 0;
}

static void everywhere(void) {
    struct sockaddr_storage any = self, to, from;
    elsewhere(&any, 0);
    int server = socket(family(), SOCK_DGRAM, 0), client = socket(family(), SOCK_DGRAM, 0);
    CHECK(bind(server, (struct sockaddr *)&any, self_len) == 0);
    patience(server, SO_RCVTIMEO, 2000);
    patience(client, SO_RCVTIMEO, 2000);
    to = name_of(server);
    for (int loopback = 0; loopback <= has_loopback(); loopback++) {
        char room[8];
        socklen_t len = sizeof from;
        in_port_t port = *port_of(&to);
        to = self;
        if (loopback) elsewhere(&to, 1);
        *port_of(&to) = port;
        int asks = loopback ? socket(family(), SOCK_DGRAM, 0) : dup(client);
        CHECK(sendto(asks, "ask", 3, 0, (struct sockaddr *)&to, self_len) == 3);
        CHECK(recvfrom(server, room, 8, 0, (struct sockaddr *)&from, &len) == 3);
        CHECK(sendto(server, "answer", 6, 0, (struct sockaddr *)&from, len) == 6);
        patience(asks, SO_RCVTIMEO, 2000);
        CHECK(recv(asks, room, 8, 0) == 6);
        close(asks);
    }
    close(server), close(client);
    int listener = socket(family(), SOCK_STREAM, 0);
    CHECK(listen(listener, 4) == 0);
    to = name_of(listener);
    for (int loopback = 0; loopback <= has_loopback(); loopback++) {
        in_port_t port = *port_of(&to);
        to = self;
        if (loopback) elsewhere(&to, 1);
        *port_of(&to) = port;
        int asks = socket(family(), SOCK_STREAM, 0);
        CHECK(connect(asks, (struct sockaddr *)&to, self_len) == 0);
        socklen_t len = sizeof from;
        int taken = accept(listener, (struct sockaddr *)&from, &len);
        CHECK(taken >= 0 && *port_of(&from) == asks_port(asks));
        char byte;
        CHECK(send(asks, "x", 1, 0) == 1 && recv(taken, &byte, 1, 0) == 1);
        close(asks), close(taken);
    }
    close(listener);
}

// A connection that is over gives all that came before its end, though more waits than a program sees at once.
static void to_the_end(void) {
    static char room[600000];
    struct sockaddr_storage name;
    int listener = listening(&name), fd = socket(family(), SOCK_STREAM, 0), size = 2000000, sent = 0, got = 0, count;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
    CHECK(connect(fd, (struct sockaddr *)&name, self_len) == 0 && shutdown(fd, SHUT_WR) == 0);
    int peer = accept(listener, NULL, NULL);
    CHECK(recv(peer, room, 1, 0) == 0 && fcntl(peer, F_SETFL, O_NONBLOCK) == 0);
    // (The kernel may not take as much before anybody reads.)
    while (sent < (int)sizeof room && ready(peer, POLLOUT, 300) & POLLOUT)
        if ((count = send(peer, room, sizeof room - sent, 0)) > 0) sent += count;
    CHECK(sent > 100000 && close(peer) == 0);
    ready(fd, POLLRDHUP, 300);
    while ((count = recv(fd, room, sizeof room, 0)) > 0) got += count;
    CHECK(count == 0 && got == sent);
    close(fd), close(listener);
}

static in_port_t free_port(void) {
    int fd = fresh(SOCK_DGRAM);
    in_port_t port = asks_port(fd);
    close(fd);
    return port;
}

// One datagram socket speaks to peers of the kernel's and of Flumen's: connected to one after the other, with a name on all
// addresses or without one, and not connected.
static void other_peers(void) {
    if (!has_loopback()) return;
    struct sockaddr none = {AF_UNSPEC, ""};
    struct sockaddr_storage to[2] = {self, self}, any = self, from;
    socklen_t len = sizeof from;
    elsewhere(&to[0], 1), elsewhere(&any, 0);
    int servers[2], free_one = socket(family(), SOCK_DGRAM, 0);
    char room[8];
    for (int n = 0; n < 2; n++) {
        servers[n] = socket(family(), SOCK_DGRAM, 0);
        CHECK(bind(servers[n], (struct sockaddr *)&to[n], self_len) == 0);
        patience(servers[n], SO_RCVTIMEO, 2000);
        to[n] = name_of(servers[n]);
    }
    for (int bound = 0; bound < 2; bound++) {
        int fd = socket(family(), SOCK_DGRAM, 0);
        // (Only a port that was asked for stays.)
        in_port_t port = *port_of(&any) = bound ? free_port() : 0;
        if (bound) CHECK(bind(fd, (struct sockaddr *)&any, self_len) == 0);
        for (int n = 0; n < 2; n++) {
            CHECK(connect(fd, (struct sockaddr *)&to[n], self_len) == 0 && send(fd, "named", 5, 0) == 5);
            CHECK(recvfrom(servers[n], room, 8, 0, (struct sockaddr *)&from, &len) == 5);
            CHECK(!bound || *port_of(&from) == port);
            FAILS(bind(fd, (struct sockaddr *)&self, self_len), EINVAL);
            if (n > 0) break;
            CHECK(connect(fd, &none, sizeof none) == 0 && (!bound || asks_port(fd) == port));
            FAILS(send(fd, "x", 1, 0), EDESTADDRREQ);
            // (Over IPv6 a socket of Linux hears its last peer alone from then on.)
            if (bound && family() == AF_INET) {
                patience(fd, SO_RCVTIMEO, 2000);
                struct sockaddr_storage back = self;
                *port_of(&back) = port;
                CHECK(sendto(servers[1], "back", 4, 0, (struct sockaddr *)&back, self_len) == 4);
                CHECK(recv(fd, room, 8, 0) == 4);
            }
        }
        close(fd);
    }
    for (int n = 0; n < 4; n++) {
        CHECK(sendto(free_one, "free", 4, 0, (struct sockaddr *)&to[n % 2], self_len) == 4);
        CHECK(recv(servers[n % 2], room, 8, 0) == 4);
    }
    close(servers[0]), close(servers[1]), close(free_one);
}

// A group is joined where the kernel has an interface for it, or Flumen has.
static void everywhere_in_a_group(void) {
    struct sockaddr_storage any = self;
    elsewhere(&any, 0);
    int fd = socket(family(), SOCK_DGRAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&any, self_len) == 0);
    if (family() == AF_INET) {
        struct ip_mreq group = {{htonl(0xe0010203)}, ((struct sockaddr_in *)&self)->sin_addr};
        CHECK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0);
        FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), EADDRINUSE);
        CHECK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group.imr_interface, sizeof group.imr_interface) == 0);
        CHECK(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group) == 0);
        group.imr_interface.s_addr = htonl(0x01020304);
        FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), ENODEV);
    }
    close(fd);
}

// A program that has used up all its descriptors still waits for its sockets in a set, and accepts what it has room for.
static void used_up(void) {
    struct sockaddr_storage name;
    struct rlimit before, tight;
    int listener = listening(&name), client = socket(family(), SOCK_STREAM, 0), set = epoll_create1(0);
    CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    tight = before, tight.rlim_cur = 64;
    CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    int filled[64], count = 0;
    while (count < 64 && (filled[count] = dup(0)) >= 0) count++;
    FAILS(dup(0), EMFILE);
    struct epoll_event event = {EPOLLIN, {.fd = listener}}, seen;
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) == 0);
    CHECK(connect(client, (struct sockaddr *)&name, self_len) == 0 || errno == EINPROGRESS);
    CHECK(epoll_wait(set, &seen, 1, 2000) == 1 && seen.data.fd == listener);
    FAILS(accept(listener, NULL, NULL), EMFILE);
    CHECK(close(filled[--count]) == 0);
    int taken = accept(listener, NULL, NULL);
    CHECK(taken == filled[count]);
    while (count > 0) close(filled[--count]);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    close(set), close(taken), close(client), close(listener);
}

// Lengths that no compiler knows: what is compiled with _FORTIFY_SOURCE calls libc's checked variants for these.
static volatile size_t four = 4;
static volatile nfds_t one_of_them = 1;

static void unknown_lengths(void) {
    int ends[2];
    char room[8];
    connection(ends);
    struct pollfd fds[2] = {{ends[1], POLLIN, 0}, {ends[0], POLLIN, 0}};
    struct timespec time = {2, 0};
    CHECK(poll(fds, one_of_them, 0) == 0);
    CHECK(send(ends[0], "abcdefghijkl", 12, 0) == 12);
    CHECK(poll(fds, one_of_them, 2000) == 1 && fds[0].revents == POLLIN);
    CHECK(ppoll(fds, one_of_them, &time, NULL) == 1 && fds[0].revents == POLLIN);
    CHECK(recv(ends[1], room, four, MSG_WAITALL) == 4 && memcmp(room, "abcd", 4) == 0);
    CHECK(recvfrom(ends[1], room, four, MSG_WAITALL, NULL, NULL) == 4 && memcmp(room, "efgh", 4) == 0);
    CHECK(read(ends[1], room, four) == 4 && memcmp(room, "ijkl", 4) == 0);
    int out = fcntl(ends[0], F_DUPFD, (int)four * 30);
    FILE *to = fdopen(out, "w"), *from = fdopen(dup(ends[1]), "r");
    CHECK(to && from && fprintf(to, "%.*s and %d\n", (int)four, "four", 4) == 11 && fflush(to) == 0);
    char line[32];
    CHECK(fgets(line, (int)four * 8, from) && strcmp(line, "four and 4\n") == 0);
    CHECK(fwrite("12345678", 1, 2 * four, to) == 8 && fflush(to) == 0 && fread(room, 1, 2 * four, from) == 8);
    CHECK(memcmp(room, "12345678", 8) == 0);
    fclose(to), fclose(from);
    finish(ends);
}

int main(int count, char **arguments) {
    if (!begin(count, arguments)) return 2;
    struct {
        const char *name;
        void (*run)(void);
    } all[] = {{"names", names},       {"refused", refused}, {"bytes", bytes},   {"times", times},         {"interrupted", interrupted},
               {"over", over},         {"urgent", urgent},   {"shared", shared}, {"files", files},         {"datagrams", datagrams},
               {"everywhere", everywhere}, {"to_the_end", to_the_end}, {"other_peers", other_peers},
               {"everywhere_in_a_group", everywhere_in_a_group}, {"used_up", used_up}, {"unknown_lengths", unknown_lengths}};
    for (unsigned n = 0; n < sizeof all / sizeof *all; n++) all[n].run();
    return end();
}
