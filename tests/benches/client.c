/* A minimal command-line client: one call, and the reply's body on standard output. Built with cc -O2 -static.
 *   client relay PATH TEXT    through the minimal relay
 *   client ipcd PATH TEXT     through ipcd, with hello and call in one write (docs/protocol.md) */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RELAY_HEADER = 16, HEADER = 32, REPLY = 4, WELCOME = 2 };

static unsigned char out[8192], in[8192];
static size_t out_len;

static void put(const void *bytes, size_t len) {
    memcpy(out + out_len, bytes, len);
    out_len += len;
}

static void put_field(unsigned char tag, const void *value, size_t len) {
    unsigned char prefix[3] = {tag, (unsigned char)len, (unsigned char)(len >> 8)};
    put(prefix, sizeof prefix);
    put(value, len);
}

static size_t put_header(unsigned char kind, unsigned char id) {
    unsigned char header[HEADER] = {0xC1, 1, kind};
    header[8] = id;
    put(header, HEADER);
    return out_len - HEADER;
}

/* Fills in the lengths of the routing section and the body. */
static void finish(size_t header, const char *body) {
    size_t routing = out_len - header - HEADER, len = strlen(body);
    out[header + 16] = (unsigned char)len;
    out[header + 17] = (unsigned char)(len >> 8);
    out[header + 20] = (unsigned char)routing;
    put(body, len);
}

static size_t little(const unsigned char *at, int bytes) {
    size_t value = 0;
    while (bytes-- > 0) value = value << 8 | at[bytes];
    return value;
}

/* The length of the reply's body, which begins at `*start`; -1 while it is incomplete, -2 if another frame comes first. */
static ssize_t reply_body(int relay, size_t len, size_t *start) {
    size_t at = 0;
    if (relay) {
        *start = RELAY_HEADER;
        return len >= RELAY_HEADER && len >= RELAY_HEADER + little(in, 4) ? (ssize_t)little(in, 4) : -1;
    }
    while (len - at >= HEADER) {
        size_t body = little(in + at + 16, 4), routing = little(in + at + 20, 2);
        if (len - at < HEADER + routing + body) return -1;
        *start = at + HEADER + routing;
        if (in[at + 2] == REPLY) return (ssize_t)body;
        if (in[at + 2] != WELCOME) return -2;
        at = *start + body;
    }
    return -1;
}

int main(int argc, char **argv) {
    if (argc != 4 || strlen(argv[3]) > 4096) return 2;
    int relay = strcmp(argv[1], "relay") == 0;
    if (relay) {
        unsigned char header[RELAY_HEADER] = {(unsigned char)strlen(argv[3]), (unsigned char)(strlen(argv[3]) >> 8)};
        put(header, sizeof header);
        put(argv[3], strlen(argv[3]));
    } else {
        size_t hello = put_header(1, 0);
        put_field(6, "\0\0\0\0\0\0\0\0", 8);
        put_field(7, "\1\1", 2);
        put_field(8, "client.c", 8);
        finish(hello, "");
        size_t call = put_header(3, 1);
        put_field(2, "bench", 5);
        put_field(3, "echo", 4);
        finish(call, argv[3]);
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[2], sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return 69;
    if (write(fd, out, out_len) != (ssize_t)out_len) return 74;
    size_t len = 0, start = 0;
    ssize_t body;
    while ((body = reply_body(relay, len, &start)) == -1) {
        ssize_t got = read(fd, in + len, sizeof in - len);
        if (got <= 0) return 74;
        len += (size_t)got;
    }
    if (body < 0) return 70;
    return write(1, in + start, (size_t)body) == body ? 0 : 74;
}
