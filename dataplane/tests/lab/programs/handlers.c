// Forks in signal handlers that interrupt calls on sockets: the main thread sends and receives through a connection and datagrams, checks
// each byte, and opens and closes sockets meanwhile; a timer's handler forks a child that uses the sockets a little, and ends.
//
//   handlers ADDRESS FORKS
#include "calls.h"

#include <sys/wait.h>

enum { AT_A_TIME = 4 };

static int ends[2], forks, wanted;
static volatile pid_t children[AT_A_TIME];

// What a handler may do, as POSIX has it; the number says what failed.
static int as_a_child(void) {
    char byte, room[16];
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    // What is there is the parent's to read.
    if (recv(ends[1], &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno != EAGAIN) return 2;
    if (getsockname(ends[0], (struct sockaddr *)&name, &len) != 0 || len != self_len) return 3;
    int one = socket(family(), SOCK_DGRAM, 0), other = socket(family(), SOCK_DGRAM, 0);
    if (one < 0 || other < 0 || bind(one, (struct sockaddr *)&self, self_len) != 0) return 4;
    len = sizeof name;
    if (getsockname(one, (struct sockaddr *)&name, &len) != 0) return 5;
    if (sendto(other, "child", 5, 0, (struct sockaddr *)&name, len) != 5) return 6;
    if (recv(one, room, sizeof room, 0) != 5 || memcmp(room, "child", 5) != 0) return 7;
    struct pollfd waits = {ends[0], POLLOUT | POLLIN, 0};
    if (poll(&waits, 1, 0) < 0 || waits.revents & (POLLERR | POLLHUP | POLLNVAL)) return 8;
    if (close(one) != 0 || close(other) != 0 || close(ends[0]) != 0 || close(ends[1]) != 0) return 9;
    return 0;
}

static void forking(int number) {
    int before = errno;
    (void)number;
    for (int n = 0; n < AT_A_TIME && forks < wanted; n++) {
        if (children[n]) continue;
        pid_t pid = fork();
        if (pid == 0) {
            // Nobody waits for ever.
            signal(SIGALRM, SIG_DFL), alarm(20);
            _exit(as_a_child());
        }
        children[n] = pid, forks += pid > 0;
        break;
    }
    errno = before;
}

static void reap(int options) {
    for (int n = 0; n < AT_A_TIME; n++) {
        int status;
        pid_t pid = children[n];
        if (!pid || waitpid(pid, &status, options) != pid) continue;
        children[n] = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status)) printf("a child ended with status %x\n", status);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static int maps(const char *word) {
    FILE *file = fopen("/proc/self/maps", "r");
    char line[512];
    int count = 0;
    while (fgets(line, sizeof line, file)) count += strstr(line, word) != NULL;
    fclose(file);
    return count;
}

static unsigned char byte_at(unsigned long position) { return position * 31 + (position >> 9); }

int main(int count, char **arguments) {
    if (count != 3 || !begin(count, arguments)) return 2;
    wanted = atoi(arguments[2]);
    connection(ends);
    int one = fresh(SOCK_DGRAM), other = socket(family(), SOCK_DGRAM, 0);
    struct sockaddr_storage name = name_of(one), of_listener;
    int listener = listening(&of_listener);
    int arenas = maps("flumen-arena"), round = 0;
    unsigned long sent = 0, got = 0, datagrams = 0, lost = 0;

    struct sigaction action = {.sa_handler = forking, .sa_flags = SA_RESTART};
    sigaction(SIGPROF, &action, NULL);
    struct itimerval often = {{0, 3000}, {0, 3000}};
    setitimer(ITIMER_PROF, &often, NULL);
    while ((forks < wanted || got < sent) && !failed) {
        unsigned char room[3000];
        if (forks < wanted) {
            size_t len = 1 + sent % sizeof room;
            for (size_t n = 0; n < len; n++) room[n] = byte_at(sent + n);
            ssize_t took = send(ends[0], room, len, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (took > 0) sent += took;
            else if (errno != EAGAIN) CHECK(!"send");
        }
        ssize_t came = recv(ends[1], room, sizeof room, MSG_DONTWAIT);
        if (came <= 0 && !(came < 0 && errno == EAGAIN)) CHECK(!"recv");
        for (ssize_t n = 0; n < came; n++)
            if (room[n] != byte_at(got + n)) {
                CHECK(!"another byte");
                break;
            }
        if (came > 0) got += came;
        unsigned long number = datagrams;
        if (sendto(other, &number, sizeof number, 0, (struct sockaddr *)&name, self_len) == sizeof number) {
            datagrams++;
            number = -1UL;
            if (ready(one, POLLIN, 5000) != POLLIN || recv(one, &number, sizeof number, 0) != sizeof number) lost++;
            else CHECK(number == datagrams - 1);
        } else CHECK(!"sendto");
        if (++round % 16 == 0) {
            int mine = socket(family(), SOCK_STREAM, 0);
            CHECK(connect(mine, (struct sockaddr *)&of_listener, self_len) == 0);
            int theirs = accept(listener, NULL, NULL);
            CHECK(theirs >= 0 && close(theirs) == 0 && close(mine) == 0);
        }
        reap(WNOHANG);
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_PROF, &never, NULL);
    reap(0);
    CHECK(forks == wanted && sent > 0 && got == sent && lost == 0);
    CHECK(maps("flumen-arena") == arenas);
    printf("%d forks, %lu bytes, %lu datagrams\n", forks, got, datagrams);
    finish(ends), close(one), close(other), close(listener);
    return end();
}
