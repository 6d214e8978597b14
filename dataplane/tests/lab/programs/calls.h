// What the programs that compare socket calls have in common: the address given as the argument, checks that are counted, and sockets
// with names of their own. Each check says a line when it fails; the last line counts those that held.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_storage self;
static socklen_t self_len;
static int held, failed;

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if (what)                                                                                                      \
            held++;                                                                                                    \
        else {                                                                                                         \
            failed++;                                                                                                  \
            printf("%s:%d: %s (errno %d, %s)\n", __func__, __LINE__, #what, errno, strerror(errno));                   \
        }                                                                                                              \
    } while (0)
#define FAILS(call, number) CHECK((call) == -1 && errno == (number))

static int family(void) { return self.ss_family; }

static in_port_t *port_of(struct sockaddr_storage *name) {
    return family() == AF_INET ? &((struct sockaddr_in *)name)->sin_port : &((struct sockaddr_in6 *)name)->sin6_port;
}

static int same_host(struct sockaddr_storage *one, struct sockaddr_storage *other) {
    return family() == AF_INET
               ? ((struct sockaddr_in *)one)->sin_addr.s_addr == ((struct sockaddr_in *)other)->sin_addr.s_addr
               : IN6_ARE_ADDR_EQUAL(&((struct sockaddr_in6 *)one)->sin6_addr, &((struct sockaddr_in6 *)other)->sin6_addr);
}

// The same port at 127.0.0.1 or ::1, or at every address.
static void elsewhere(struct sockaddr_storage *name, int loopback) {
    if (family() == AF_INET)
        ((struct sockaddr_in *)name)->sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
    else
        ((struct sockaddr_in6 *)name)->sin6_addr = loopback ? in6addr_loopback : in6addr_any;
}

static int fresh(int type) {
    int fd = socket(family(), type, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&self, self_len) != 0) {
        perror("a socket with a name");
        exit(2);
    }
    return fd;
}

static struct sockaddr_storage name_of(int fd) {
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    memset(&name, 0, sizeof name);
    CHECK(getsockname(fd, (struct sockaddr *)&name, &len) == 0 && len == self_len);
    return name;
}

static int listening(struct sockaddr_storage *name) {
    int fd = fresh(SOCK_STREAM);
    CHECK(listen(fd, 8) == 0);
    *name = name_of(fd);
    return fd;
}

// A connection: [0] the client's end, [1] the server's.
static void connection(int ends[2]) {
    struct sockaddr_storage name;
    int listener = listening(&name);
    ends[0] = socket(family(), SOCK_STREAM, 0);
    CHECK(connect(ends[0], (struct sockaddr *)&name, self_len) == 0);
    ends[1] = accept(listener, NULL, NULL);
    CHECK(ends[1] >= 0);
    close(listener);
}

static void finish(int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static void patience(int fd, int option, int milliseconds) {
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    CHECK(setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) == 0);
}

static short ready(int fd, short events, int milliseconds) {
    struct pollfd one = {fd, events, 0};
    return poll(&one, 1, milliseconds) < 0 ? -1 : one.revents;
}

static int signals;
static void on_signal(int number) { signals += number != 0; }

static void handler(int number, int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

// Reads the address that stands in the arguments; the program ends by itself if something waits for ever.
static int begin(int count, char **arguments) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&self;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&self;
    if (count >= 2 && inet_pton(AF_INET, arguments[1], &v4->sin_addr) == 1)
        v4->sin_family = AF_INET, self_len = sizeof *v4;
    else if (count >= 2 && inet_pton(AF_INET6, arguments[1], &v6->sin6_addr) == 1)
        v6->sin6_family = AF_INET6, self_len = sizeof *v6;
    else
        return 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(50);
    return 1;
}

static int end(void) {
    printf("%d held, %d failed\n", held, failed);
    return failed != 0;
}
