/* The practical limit of a stream over RabbitMQ: a server and a reader in C, on librabbitmq.
 *
 * stream serve URL, stream read URL. The reader answers each line of JSON on standard input with one line:
 *   {"op": "read", "count": 10000, "size": 65536}      read so many items of so many bytes
 *
 * As in RabiBridge, a message holds as many items as fit into 240 KiB, about 1 MiB is on its way, and the reader reports
 * how many messages it has consumed after each half of that. Each message is mandatory and goes to the reply queue of the
 * reader, which does not acknowledge it. Nothing looks at what a message holds.
 */
#include "connection.h"
#include <poll.h>

#define REQUESTS "stream"
#define GATHERED (240 * 1024) /* bytes of the items in a message, unless one item has more */
#define ON_THE_WAY (1024 * 1024)

static void publish(amqp_bytes_t queue, amqp_bytes_t reply_to, amqp_bytes_t body) {
    amqp_basic_properties_t properties;

    memset(&properties, 0, sizeof properties);
    properties._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_REPLY_TO_FLAG |
                        AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties.correlation_id = amqp_cstring_bytes("1");
    properties.content_type = amqp_cstring_bytes("application/msgpack");
    properties.reply_to = reply_to;
    properties.delivery_mode = 1;
    check(amqp_basic_publish(connection, 1, amqp_empty_bytes, queue, 1, 0, &properties, body), "publishing");
}

static void publish_text(const char *queue, amqp_bytes_t reply_to, char *text) {
    publish(amqp_cstring_bytes(queue), reply_to, amqp_cstring_bytes(text));
}

/* Read the next message; the caller destroys it. */
static amqp_envelope_t next_message(void) {
    amqp_envelope_t message;

    amqp_maybe_release_buffers(connection);
    if (amqp_consume_message(connection, &message, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL)
        die("the connection ended, or a message came back");
    return message;
}

static void consume(amqp_bytes_t queue) {
    amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
    check_reply("consuming failed");
}

static void copy_text(char *text, size_t room, amqp_bytes_t body) {
    if (body.len >= room) die("a message is too long");
    memcpy(text, body.bytes, body.len);
    text[body.len] = '\0';
}

/* ---- server ---- */

static unsigned long read_report(void) {
    char text[32];
    amqp_envelope_t report = next_message();

    copy_text(text, sizeof text, report.message.body);
    amqp_destroy_envelope(&report);
    return strtoul(text, NULL, 10);
}

/* A request is "BYTES SIZE WINDOW": so many bytes, in messages of that size, of which so many may be on their way. Every
 * other message is the number of consumed messages. */
static void serve_one(void) {
    char text[128];
    unsigned long left, size, window, sent = 0, consumed = 0;
    amqp_envelope_t request = next_message();
    amqp_bytes_t reader = amqp_bytes_malloc_dup(request.message.properties.reply_to), body;

    copy_text(text, sizeof text, request.message.body);
    amqp_destroy_envelope(&request);
    if (sscanf(text, "%lu %lu %lu", &left, &size, &window) != 3) die("a request is malformed");
    body = amqp_bytes_malloc(size);
    if (!body.bytes) die("out of memory");
    memset(body.bytes, 7, size);
    while (left) {
        if (left < size) body.len = left;
        if (sent - consumed >= window) consumed = read_report();
        publish(reader, amqp_empty_bytes, body);
        sent++, left -= body.len;
    }
    while (consumed < sent - sent % (window / 2)) consumed = read_report();
    amqp_bytes_free(body);
    amqp_bytes_free(reader);
}

static void serve(void) {
    struct pollfd inputs[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                               {.fd = amqp_get_sockfd(connection), .events = POLLIN}};

    amqp_queue_declare(connection, 1, amqp_cstring_bytes(REQUESTS), 0, 0, 1, 1, amqp_empty_table);
    check_reply("declaring the queue failed");
    consume(amqp_cstring_bytes(REQUESTS));
    puts("{\"ready\": true}");
    for (;;) {
        while (amqp_frames_enqueued(connection) || amqp_data_in_buffer(connection)) serve_one();
        if (poll(inputs, 2, -1) < 0) die("poll failed");
        if (inputs[0].revents) return;
        if (inputs[1].revents) serve_one();
    }
}

/* ---- reader ---- */

static void read_stream(amqp_bytes_t queue, unsigned long count, unsigned long size) {
    char text[128];
    unsigned long message_size = size < GATHERED ? GATHERED / size * size : size;
    unsigned long window = ON_THE_WAY / message_size + 1, left = count * size, came = 0;
    double cpu = cpu_seconds(), start = now();

    if (window < 2) window = 2;
    snprintf(text, sizeof text, "%lu %lu %lu", left, message_size, window);
    publish_text(REQUESTS, queue, text);
    while (left) {
        amqp_envelope_t message = next_message();
        if (message.message.body.len != (left < message_size ? left : message_size)) die("a message has a wrong size");
        left -= message.message.body.len;
        amqp_destroy_envelope(&message);
        if (++came % (window / 2) == 0) {
            snprintf(text, sizeof text, "%lu", came);
            publish_text(REQUESTS, amqp_empty_bytes, text);
        }
    }
    printf("{\"seconds\": %.6f, \"cpu\": %.6f}\n", now() - start, cpu_seconds() - cpu);
}

static void take_commands(void) {
    char line[256];
    amqp_bytes_t queue = amqp_bytes_malloc_dup(
        amqp_queue_declare(connection, 1, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table)->queue);

    consume(queue);
    puts("{\"ready\": true}");
    while (fgets(line, sizeof line, stdin)) {
        double count = argument(line, "\"count\":"), size = argument(line, "\"size\":");
        if (count < 1 || size < 1) die("count and size must be 1 or more");
        read_stream(queue, (unsigned long)count, (unsigned long)size);
    }
}

int main(int count, char **arguments) {
    if (count != 3) die("usage: stream serve|read URL");
    setvbuf(stdin, NULL, _IONBF, 0); /* so that poll() sees what is available */
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_connection(arguments[2]);
    if (strcmp(arguments[1], "serve") == 0)
        serve();
    else
        take_commands();
    return 0;
}
