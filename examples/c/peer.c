/* A client and a service of ipcd, from docs/protocol.md alone: `peer call TARGET BODY` prints the reply, `peer serve NAME` answers
 * each call with its body in upper case. The broker is at $IPCD_SOCKET. Build: cc -o peer peer.c */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO = 1, CALL = 3, REPLY, ERROR, GOODBYE = 12, PING, PONG, SERVICE = 2, METHOD, TEXT = 5, VERSIONS = 7, JSON = 2 };
static unsigned char head[32], fields[4096], body[1 << 20];
static size_t fields_len, body_len, at;
static int broker;
static void die(const char *text, int len) { fprintf(stderr, "peer: %.*s\n", len, text), exit(1); } /* -1: up to its NUL */
static void put(unsigned char *to, uint64_t number, int bytes) { for (; bytes--; number >>= 8) *to++ = number & 255; }
static uint64_t get(const unsigned char *at, int bytes) { return bytes ? get(at + 1, bytes - 1) << 8 | *at : 0; }
static void all(int is_write, unsigned char *at, size_t len) {
    for (ssize_t done; len; at += done, len -= done)
        if ((done = is_write ? send(broker, at, len, MSG_NOSIGNAL) : recv(broker, at, len, 0)) <= 0) die("the broker is gone", -1);
}
static size_t field(size_t end, int tag, const char *value) { /* appends a field to the routing section */
    put(fields + end, tag, 1), put(fields + end + 1, strlen(value), 2), memcpy(fields + end + 3, value, strlen(value));
    return end + 3 + strlen(value);
}
static void transmit(int kind, int encoding, uint64_t id, uint32_t time_ms, size_t routing, size_t len) {
    unsigned char out[32] = {0xc1, 1, kind, encoding};
    put(out + 8, id, 8), put(out + 16, len, 4), put(out + 20, routing, 2), put(out + 24, time_ms, 4);
    all(1, out, 32), all(1, fields, routing), all(1, body, len);
}
static int receive(void) { /* the kind of the next frame that isn't a ping */
    all(0, head, 32), fields_len = get(head + 20, 2), body_len = get(head + 16, 4);
    if (*head != 0xc1 || fields_len > sizeof fields || body_len > sizeof body) die("the broker broke the protocol", -1);
    all(0, fields, fields_len), all(0, body, body_len);
    if (head[2] == PING) return transmit(PONG, 0, get(head + 8, 8), 0, 0, 0), receive();
    for (at = 0; (head[2] == ERROR || head[2] == GOODBYE) && at + 3 <= fields_len; at += 3 + get(fields + at + 1, 2))
        if (fields[at] == TEXT && at + 3 + get(fields + at + 1, 2) <= fields_len) die((char *)fields + at + 3, get(fields + at + 1, 2));
    return head[2] == ERROR || head[2] == GOODBYE ? die("no reason given", -1), 0 : head[2];
}
int main(int count, char **arguments) {
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    int is_call = count == 4 && !strcmp(arguments[1], "call"), is_service = count == 3 && !strcmp(arguments[1], "serve");
    if (!(is_call || is_service) || strlen(arguments[2]) > 255 || (is_call && strlen(arguments[3]) >= sizeof body))
        die("usage: peer call TARGET BODY | peer serve NAME", -1);
    strncpy(where.sun_path, getenv("IPCD_SOCKET") ? getenv("IPCD_SOCKET") : "", sizeof where.sun_path - 1);
    if (connect(broker = socket(AF_UNIX, SOCK_STREAM, 0), (void *)&where, sizeof where)) die("no broker answers", -1);
    transmit(HELLO, 0, 0, 0, field(0, VERSIONS, "\1\1"), 0);
    if (is_call) {
        body_len = strlen(memcpy(body, arguments[3], strlen(arguments[3]) + 1)); /* the last byte of the body stays free for the NUL */
        for (transmit(CALL, 0, 1, 5000, field(0, SERVICE, arguments[2]), body_len); receive() != REPLY;) continue;
        return fwrite(body, 1, body_len, stdout) != body_len;
    }
    int len = snprintf((char *)body, sizeof body, "{\"name\":\"%s\"}", arguments[2]);
    for (transmit(CALL, JSON, 1, 0, field(field(0, SERVICE, "ipc"), METHOD, "register"), len);;)
        if (receive() == CALL) {
            for (at = 0; at < body_len; at++) body[at] = toupper(body[at]);
            transmit(REPLY, head[3], get(head + 8, 8), 0, 0, body_len); /* under the broker's number of the call */
        }
}
