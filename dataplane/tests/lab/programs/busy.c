/* Receives 10,000 times, then sends 10,000 times, never waiting, between calls of getppid: busy ADDRESS PORT. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIMES 10000

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

int main(int count, char **words) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    char bytes[100];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(count == 3, "arguments");
    to.sin_port = htons(atoi(words[2]));
    inet_pton(AF_INET, words[1], &to.sin_addr);
    check(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    syscall(SYS_getppid);
    for (int done = 0; done < TIMES;) {
        ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        check(got > 0 || (got < 0 && errno == EAGAIN), "recv");
        done += got > 0;
    }
    for (int done = 0; done < TIMES;) {
        ssize_t sent = send(fd, bytes, 16, MSG_DONTWAIT);
        check(sent > 0 || errno == EAGAIN, "send");
        done += sent > 0;
    }
    syscall(SYS_getppid);
    printf("done\n");
    return 0;
}
