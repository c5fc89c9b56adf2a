/*
 * A longer session: two managers exchange messages, one shares a file and the other looks it up, listings, mappings and
 * events are read, the NAT is examined, tasks are cancelled, and everything is freed with work still running.
 *
 *     session FILE DIRECTORY
 */
#include <dig_nat.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return 1;                                               \
        }                                                           \
    } while (0)

/* Starts an operation that has to succeed, waits for it, and leaves its result in `result`. */
#define DO(call)                                                                                            \
    do {                                                                                                    \
        DigNatTask *task = NULL;                                                                            \
        DigNatError *error = NULL;                                                                          \
        DigNatStatus got = (call);                                                                          \
        dig_nat_result_free(result);                                                                        \
        result = NULL;                                                                                      \
        if (got == DIG_NAT_STATUS_OK)                                                                       \
            got = dig_nat_task_wait(task, 30000, &result, &error);                                          \
        dig_nat_task_free(task);                                                                            \
        if (got != DIG_NAT_STATUS_OK) {                                                                     \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #call, dig_nat_error_message(error));            \
            return 1;                                                                                       \
        }                                                                                                   \
    } while (0)

struct calls {
    int done;
    int events;
    DigNatStatus status;
};

static void on_done(void *user, const DigNatResult *result, const DigNatError *error)
{
    struct calls *calls = user;
    (void)result;
    calls->done++;
    calls->status = dig_nat_error_status(error);
}

static void on_event(void *user, const char *event)
{
    struct calls *calls = user;
    if (strstr(event, "\"type\""))
        calls->events++;
}

static int messages(DigNatManager *one, DigNatManager *two)
{
    static const uint8_t data[] = { 0, 1, 2, 255 };
    DigNatResult *result = NULL, *addresses = NULL;
    DigNatTask *accepting = NULL;
    DigNatConnection *here, *there;
    char *peer, *other;

    CHECK(dig_nat_manager_accept(two, NULL, NULL, &accepting, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_task_wait(accepting, 0, NULL, NULL) == DIG_NAT_STATUS_TIMEOUT && !dig_nat_task_is_finished(accepting));
    CHECK(dig_nat_manager_addresses(two, &addresses, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(addresses) > 0);
    DO(dig_nat_manager_connect(one, dig_nat_result_text(dig_nat_result_item(addresses, 0)), NULL, NULL, &task, &error));
    here = dig_nat_result_take_connection(result);
    CHECK(here && !dig_nat_result_take_connection(result));
    peer = dig_nat_connection_peer(here);
    other = dig_nat_manager_peer_id(two);
    CHECK(peer && other && strcmp(peer, other) == 0 && strcmp(dig_nat_result_peer(result), peer) == 0);
    dig_nat_string_free(other);
    other = dig_nat_manager_connection_type(one, peer);
    CHECK(other && (strcmp(other, "tcp") == 0 || strcmp(other, "udp") == 0));
    dig_nat_string_free(other);
    dig_nat_string_free(peer);

    /* The other side sees the connection once something was sent on it, at the latest. */
    DO(dig_nat_connection_send(here, "greeting", (const uint8_t *)"h\xc3\xa9", 3, true, NULL, NULL, &task, &error));
    dig_nat_result_free(result);
    result = NULL;
    CHECK(dig_nat_task_wait(accepting, 30000, &result, NULL) == DIG_NAT_STATUS_OK);
    there = dig_nat_result_take_connection(result);
    CHECK(there);
    dig_nat_task_free(accepting);
    DO(dig_nat_connection_receive(there, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_flag(result) && dig_nat_result_size(result) == 3);
    CHECK(strcmp(dig_nat_result_name(result), "greeting") == 0);
    CHECK(memcmp(dig_nat_result_data(result), "h\xc3\xa9", 3) == 0);
    DO(dig_nat_connection_send(there, NULL, data, sizeof data, false, NULL, NULL, &task, &error));
    DO(dig_nat_connection_receive(here, NULL, NULL, &task, &error));
    CHECK(!dig_nat_result_flag(result) && dig_nat_result_size(result) == sizeof data);
    CHECK(memcmp(dig_nat_result_data(result), data, sizeof data) == 0);
    CHECK(dig_nat_connection_send(here, NULL, (const uint8_t *)"\xff", 1, true, NULL, NULL, NULL, NULL)
          == DIG_NAT_STATUS_INVALID_ARGUMENT);

    DO(dig_nat_connection_close(here, NULL, NULL, &task, &error));
    DO(dig_nat_connection_receive(there, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_data(result) == NULL && strcmp(dig_nat_result_json(result), "null") == 0);
    dig_nat_result_free(result);
    dig_nat_result_free(addresses);
    dig_nat_connection_free(here);
    dig_nat_connection_free(there);
    return 0;
}

static int listings(DigNatRuntime *runtime, const char *file, DigNatHost **out)
{
    char hash[DIG_NAT_HASH_TEXT_BYTES];
    DigNatHost *host = NULL;
    DigNatResult *result = NULL, *files = NULL;
    DigNatAddFileOptions options;
    char *text;

    CHECK(dig_nat_host_new(runtime, NULL, NULL, &host, NULL) == DIG_NAT_STATUS_OK);
    *out = host;
    CHECK(dig_nat_host_port(host) == 0);
    DO(dig_nat_host_start(host, NULL, NULL, &task, &error));
    CHECK(dig_nat_host_port(host) != 0);
    dig_nat_add_file_options_init(&options, sizeof options);
    options.content_id = "a readable id";
    DO(dig_nat_host_add_file(host, file, &options, NULL, NULL, &task, &error));
    snprintf(hash, sizeof hash, "%s", dig_nat_result_hash(result));
    CHECK(strcmp(dig_nat_result_path(result), file) == 0 && dig_nat_result_size(result) > 0);
    CHECK(strcmp(dig_nat_result_content_id(result), "a readable id") == 0 && dig_nat_host_has_file(host, hash));
    CHECK(dig_nat_host_files(host, &files, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(files) == 1);
    CHECK(strcmp(dig_nat_result_hash(dig_nat_result_item(files, 0)), hash) == 0);
    dig_nat_result_free(files);
    text = dig_nat_host_hash_for_content(host, "a readable id");
    CHECK(text && strcmp(text, hash) == 0);
    dig_nat_string_free(text);
    text = dig_nat_host_content_for_hash(host, hash);
    CHECK(text && strcmp(text, "a readable id") == 0);
    dig_nat_string_free(text);
    DO(dig_nat_host_remove_file(host, hash, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_flag(result) && !dig_nat_host_has_file(host, hash));
    DO(dig_nat_host_remove_file(host, hash, NULL, NULL, &task, &error));
    CHECK(!dig_nat_result_flag(result));
    DO(dig_nat_host_add_file(host, file, &options, NULL, NULL, &task, &error));
    dig_nat_result_free(result);
    return 0;
}

/* A client asks the host, and finds nothing it should not. */
static int asking(DigNatRuntime *runtime, DigNatHost *host, const char *directory)
{
    struct calls calls = { 0, 0, DIG_NAT_STATUS_OK };
    char target[4096], address[64];
    const char *peers[1];
    DigNatClient *client = NULL;
    DigNatResult *result = NULL;
    DigNatTask *task = NULL;
    DigNatDownloadOptions options;

    peers[0] = address;
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)dig_nat_host_port(host));
    snprintf(target, sizeof target, "%s/by-id.bin", directory);
    dig_nat_download_options_init(&options, sizeof options);
    options.peers = peers;
    options.peers_count = 1;
    options.save_path = target;
    CHECK(dig_nat_client_new(runtime, NULL, NULL, &client, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_client_file_info(client, "a readable id", &options, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_size(result) > 0 && dig_nat_result_hash(result));
    DO(dig_nat_client_download(client, "a readable id", &options, NULL, NULL, NULL, &task, &error));
    CHECK(strcmp(dig_nat_result_path(result), target) == 0);

    /* Slow enough to be caught running: cancelled, and told so exactly once. */
    snprintf(target, sizeof target, "%s/cancelled.bin", directory);
    options.download_limit = 64 * 1024;
    CHECK(dig_nat_client_download(client, "a readable id", &options, NULL, on_done, &calls, &task, NULL)
          == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_task_wait(task, 300, NULL, NULL) == DIG_NAT_STATUS_TIMEOUT && calls.done == 0);
    dig_nat_task_cancel(task);
    dig_nat_task_cancel(task);
    CHECK(dig_nat_task_wait(task, 30000, NULL, NULL) == DIG_NAT_STATUS_CANCELLED);
    CHECK(calls.done == 1 && calls.status == DIG_NAT_STATUS_CANCELLED);
    dig_nat_task_free(task);
    dig_nat_result_free(result);
    dig_nat_client_free(client);
    return 0;
}

/* The host answers STUN on its UDP port: a client finds out its NAT there, and so does the runtime without a node. */
static int nats(DigNatRuntime *runtime, DigNatHost *host)
{
    char address[64];
    const char *servers[1];
    char *event = NULL;
    DigNatClient *client = NULL;
    DigNatSubscription *events = NULL;
    DigNatResult *result = NULL;
    DigNatNatOptions options;
    DigNatNodeOptions node;

    servers[0] = address;
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)dig_nat_host_port(host));
    dig_nat_nat_options_init(&options, sizeof options);
    options.stun_servers = servers;
    options.stun_servers_count = 1;
    options.timeout_ms = 3000;
    DO(dig_nat_discover_public_ips(runtime, &options, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_count(result) == 1);
    CHECK(strcmp(dig_nat_result_text(dig_nat_result_item(result, 0)), "127.0.0.1") == 0);
    CHECK(strcmp(dig_nat_result_json(result), "{\"ipv4\":\"127.0.0.1\",\"ipv6\":null}") == 0);
    DO(dig_nat_detect_nat_type(runtime, &options, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_text(result) && strcmp(dig_nat_result_address(result), "127.0.0.1") == 0);
    CHECK(dig_nat_result_port(result) != 0 && strstr(dig_nat_result_json(result), "\"translated\":false"));

    dig_nat_node_options_init(&node, sizeof node);
    node.stun_servers = servers;
    node.stun_servers_count = 1;
    CHECK(dig_nat_client_new(runtime, &node, NULL, &client, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_client_subscribe(client, NULL, NULL, &events, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_client_start(client, NULL, NULL, &task, &error));
    do {
        dig_nat_string_free(event);
        CHECK(dig_nat_subscription_next(events, 30000, &event, NULL) == DIG_NAT_STATUS_OK && event);
    } while (!strstr(event, "\"type\":\"nat:detected\""));
    dig_nat_string_free(event);
    dig_nat_result_free(result);
    CHECK(dig_nat_client_nat_profile(client, &result, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(dig_nat_result_address(result), "127.0.0.1") == 0);
    CHECK(dig_nat_result_port(result) == dig_nat_client_port(client));
    dig_nat_result_free(result);
    dig_nat_subscription_free(events);
    dig_nat_client_free(client);
    return 0;
}

int main(int argc, char **argv)
{
    struct calls calls = { 0, 0, DIG_NAT_STATUS_OK };
    DigNatRuntime *runtime = NULL;
    DigNatManager *one = NULL, *two = NULL;
    DigNatHost *host = NULL;
    DigNatSubscription *pulled = NULL, *pushed = NULL;
    DigNatResult *result = NULL;
    char *event = NULL;

    CHECK(argc == 3);
    CHECK(dig_nat_runtime_new(2, &runtime, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_manager_new(runtime, NULL, NULL, &one, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_manager_new(runtime, NULL, NULL, &two, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_manager_subscribe(one, NULL, NULL, &pulled, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_manager_subscribe(one, on_event, &calls, &pushed, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_manager_start(one, NULL, NULL, &task, &error));
    DO(dig_nat_manager_start(two, NULL, NULL, &task, &error));
    CHECK(dig_nat_subscription_next(pulled, 30000, &event, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strstr(event, "\"type\":\"started\"") != NULL);
    dig_nat_string_free(event);
    if (messages(one, two))
        return 1;
    DO(dig_nat_manager_stop(two, NULL, NULL, &task, &error));
    DO(dig_nat_manager_stop(two, NULL, NULL, &task, &error));
    dig_nat_subscription_free(pushed);
    CHECK(calls.events > 0);
    if (listings(runtime, argv[1], &host) || asking(runtime, host, argv[2]) || nats(runtime, host))
        return 1;

    /* Leave with work running: an accept that will never come, owned by nobody. Its completion still comes, once. */
    CHECK(dig_nat_manager_accept(one, on_done, &calls, NULL, NULL) == DIG_NAT_STATUS_OK);
    dig_nat_subscription_free(pulled);
    dig_nat_result_free(result);
    dig_nat_runtime_free(runtime);
    CHECK(calls.done == 1);
    dig_nat_manager_free(one);
    dig_nat_manager_free(two);
    dig_nat_host_free(host);
    CHECK(dig_nat_live_objects() == 0);
    puts("ok");
    return 0;
}
