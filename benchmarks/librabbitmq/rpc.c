/* The practical limit of a call over RabbitMQ: a server and a client in C, on librabbitmq.
 *
 * rpc serve URL, rpc call URL. It answers each line of JSON on standard input with one line, like benchmarks/program.py:
 *   {"op": "cpu"}                                      CPU seconds so far
 *   {"op": "run", "in_flight": 128, "seconds": 2.0}    call for that time, with that many calls in flight
 *
 * A request is mandatory, confirmed, expires, and is acknowledged after its reply, which is mandatory; the queue is
 * bounded and refuses more. Each publish and each acknowledgement is sent immediately, the only way that librabbitmq
 * offers.
 */
#include "connection.h"
#include <poll.h>

#define QUEUE "echo"
#define QUEUE_SIZE 10000
#define FETCH_SIZE 256
#define EXPIRATION "10000"
#define MAX_IN_FLIGHT 65536
#define MAX_UNCONFIRMED (1 << 18)
#define BODY 5

static void publish(amqp_bytes_t queue, const amqp_basic_properties_t *properties, amqp_bytes_t body) {
    check(amqp_basic_publish(connection, 1, amqp_empty_bytes, queue, 1, 0, properties, body), "publishing");
}

/* Read the next frame and check its type: the frames of a message arrive in sequence, without others in between. */
static amqp_frame_t next_frame(int type) {
    amqp_frame_t frame;
    check(amqp_simple_wait_frame(connection, &frame), "reading");
    if (frame.frame_type != type) die("a frame of another type than expected");
    return frame;
}

/* ---- server ---- */

static void declare_queue(void) {
    amqp_table_entry_t limits[2];
    amqp_table_t arguments = {2, limits};

    limits[0].key = amqp_cstring_bytes("x-max-length");
    limits[0].value.kind = AMQP_FIELD_KIND_I32;
    limits[0].value.value.i32 = QUEUE_SIZE;
    limits[1].key = amqp_cstring_bytes("x-overflow");
    limits[1].value.kind = AMQP_FIELD_KIND_UTF8;
    limits[1].value.value.bytes = amqp_cstring_bytes("reject-publish");
    amqp_queue_declare(connection, 1, amqp_cstring_bytes(QUEUE), 0, 1, 0, 0, arguments);
    check_reply("declaring the queue failed");
}

static void answer_one(void) {
    amqp_envelope_t request;
    amqp_basic_properties_t properties;

    if (amqp_consume_message(connection, &request, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL)
        die("the connection ended, or a reply came back");
    memset(&properties, 0, sizeof properties);
    properties._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG;
    properties.correlation_id = request.message.properties.correlation_id;
    properties.content_type = request.message.properties.content_type;
    publish(request.message.properties.reply_to, &properties, request.message.body);
    check(amqp_basic_ack(connection, 1, request.delivery_tag, 0), "acknowledging");
    amqp_destroy_envelope(&request);
    amqp_maybe_release_buffers(connection);
}

static void serve(void) {
    char line[256];
    struct pollfd inputs[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                               {.fd = amqp_get_sockfd(connection), .events = POLLIN}};

    declare_queue();
    amqp_basic_qos(connection, 1, 0, FETCH_SIZE, 0);
    check_reply("setting the prefetch count failed");
    amqp_basic_consume(connection, 1, amqp_cstring_bytes(QUEUE), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check_reply("consuming failed");
    puts("{\"ready\": true}");
    for (;;) {
        while (amqp_frames_enqueued(connection) || amqp_data_in_buffer(connection)) answer_one();
        if (poll(inputs, 2, -1) < 0) die("poll failed");
        if (inputs[0].revents) {
            if (!fgets(line, sizeof line, stdin)) return;
            printf("{\"cpu\": %.6f}\n", cpu_seconds());
        }
        if (inputs[1].revents) answer_one();
    }
}

/* ---- client ---- */

/* Each call in flight has a slot; the number of the slot is its correlation id. */
static struct {
    double began;
    unsigned char body[BODY];
} slots[MAX_IN_FLIGHT];

static amqp_bytes_t reply_queue; /* exclusive, and named by the broker */
static uint64_t published, confirmed; /* all up to `confirmed` are confirmed, and those marked in `early` */
static unsigned char early[MAX_UNCONFIRMED];
static uint32_t number;

static double *latencies;
static size_t calls, room;

static void call(unsigned slot) {
    char correlation_id[16];
    amqp_basic_properties_t properties;
    unsigned char *body = slots[slot].body;
    uint32_t x = number++;

    body[0] = 0xce; /* msgpack: an unsigned number of 32 bits */
    body[1] = (unsigned char)(x >> 24), body[2] = (unsigned char)(x >> 16);
    body[3] = (unsigned char)(x >> 8), body[4] = (unsigned char)x;
    snprintf(correlation_id, sizeof correlation_id, "%u", slot);
    memset(&properties, 0, sizeof properties);
    properties._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG |
                        AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties.correlation_id = amqp_cstring_bytes(correlation_id);
    properties.reply_to = reply_queue;
    properties.content_type = amqp_cstring_bytes("application/msgpack");
    properties.expiration = amqp_cstring_bytes(EXPIRATION);
    properties.delivery_mode = 1;
    slots[slot].began = now();
    publish(amqp_cstring_bytes(QUEUE), &properties, (amqp_bytes_t){BODY, body});
    if (++published - confirmed > MAX_UNCONFIRMED) die("too many publishes are unconfirmed");
}

static void on_confirm(const amqp_basic_ack_t *ack) {
    if (ack->multiple) {
        for (; confirmed < ack->delivery_tag; confirmed++) early[(confirmed + 1) % MAX_UNCONFIRMED] = 0;
    } else {
        early[ack->delivery_tag % MAX_UNCONFIRMED] = 1;
    }
    for (; early[(confirmed + 1) % MAX_UNCONFIRMED]; confirmed++) early[(confirmed + 1) % MAX_UNCONFIRMED] = 0;
}

/* Read the rest of a reply and return the slot of its call. */
static unsigned read_reply(void) {
    char text[16] = "";
    amqp_frame_t header = next_frame(AMQP_FRAME_HEADER), body;
    const amqp_basic_properties_t *properties = header.payload.properties.decoded;
    unsigned slot;

    if (properties->correlation_id.len >= sizeof text) die("unknown correlation id");
    memcpy(text, properties->correlation_id.bytes, properties->correlation_id.len);
    slot = (unsigned)atoi(text);
    body = next_frame(AMQP_FRAME_BODY);
    if (body.payload.body_fragment.len != BODY || memcmp(body.payload.body_fragment.bytes, slots[slot].body, BODY))
        die("wrong echo");
    return slot;
}

static void record(double latency) {
    if (calls == room) {
        room = room ? 2 * room : 65536;
        latencies = realloc(latencies, room * sizeof *latencies);
        if (!latencies) die("out of memory");
    }
    latencies[calls++] = latency;
}

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void run(unsigned in_flight, double seconds) {
    double cpu = cpu_seconds(), start = now(), took, ended;
    unsigned under_way = in_flight, slot;

    calls = 0;
    for (slot = 0; slot < in_flight; slot++) call(slot);
    while (under_way || confirmed < published) {
        amqp_frame_t frame = next_frame(AMQP_FRAME_METHOD);
        if (frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            on_confirm(frame.payload.method.decoded);
        } else if (frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
            slot = read_reply();
            ended = now();
            record(ended - slots[slot].began);
            if (ended - start < seconds)
                call(slot);
            else
                under_way--;
        } else {
            die("a request was refused or came back");
        }
        amqp_maybe_release_buffers(connection);
    }
    took = now() - start, cpu = cpu_seconds() - cpu;
    qsort(latencies, calls, sizeof *latencies, by_size);
    printf("{\"calls\": %zu, \"seconds\": %.6f, \"cpu\": %.6f, \"p50\": %.7f, \"p95\": %.7f, \"p99\": %.7f}\n", calls, took,
           cpu, latencies[calls * 50 / 100], latencies[calls * 95 / 100], latencies[calls * 99 / 100]);
}

static void take_commands(void) {
    char line[256];

    amqp_confirm_select(connection, 1);
    check_reply("turning confirms on failed");
    reply_queue = amqp_bytes_malloc_dup(
        amqp_queue_declare(connection, 1, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table)->queue);
    amqp_basic_consume(connection, 1, reply_queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
    check_reply("consuming replies failed");
    puts("{\"ready\": true}");
    while (fgets(line, sizeof line, stdin)) {
        if (strstr(line, "\"cpu\"")) {
            printf("{\"cpu\": %.6f}\n", cpu_seconds());
            continue;
        }
        unsigned in_flight = (unsigned)argument(line, "\"in_flight\":");
        if (in_flight < 1 || in_flight > MAX_IN_FLIGHT) die("in_flight is out of range");
        run(in_flight, argument(line, "\"seconds\":"));
    }
}

int main(int count, char **arguments) {
    if (count != 3) die("usage: rpc serve|call URL");
    setvbuf(stdin, NULL, _IONBF, 0); /* so that poll() and fgets() agree on what is available */
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_connection(arguments[2]);
    if (strcmp(arguments[1], "serve") == 0)
        serve();
    else
        take_commands();
    return 0;
}
