/* What the programs in this folder share: one connection with one channel, clocks, and arguments in lines of JSON. */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static amqp_connection_state_t connection;

static void die(const char *what) {
    fprintf(stderr, "librabbitmq: %s\n", what);
    exit(1);
}

static void check(int status, const char *what) {
    if (status == AMQP_STATUS_OK) return;
    fprintf(stderr, "librabbitmq: %s: %s\n", what, amqp_error_string2(status));
    exit(1);
}

static void check_reply(const char *what) {
    if (amqp_get_rpc_reply(connection).reply_type != AMQP_RESPONSE_NORMAL) die(what);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void open_connection(char *url) {
    struct amqp_connection_info at;
    amqp_rpc_reply_t reply;
    amqp_socket_t *socket;

    check(amqp_parse_url(url, &at), "the URL");
    connection = amqp_new_connection();
    socket = amqp_tcp_socket_new(connection);
    check(amqp_socket_open(socket, at.host, at.port), "connecting");
    reply = amqp_login(connection, at.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, at.user, at.password);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) die("logging in failed");
    amqp_channel_open(connection, 1);
    check_reply("opening a channel failed");
}

static double argument(const char *line, const char *name) {
    const char *found = strstr(line, name);
    if (!found) die("an argument is missing");
    return atof(found + strlen(name));
}
