/*
 * Every function with NULL, every handle in the wrong place, everything freed twice: errors, never a crash.
 * Prints "ok" and ends with 0, or says which line failed.
 */
#include <dig_nat.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);          \
            return 1;                                                        \
        }                                                                    \
    } while (0)

/* The call fails with this status, and its error object says so. */
#define FAILS(expected, call)                                                \
    do {                                                                     \
        DigNatError *error = NULL;                                           \
        DigNatStatus got = (call);                                           \
        if (got != (expected) || dig_nat_error_status(error) != (expected)   \
            || strlen(dig_nat_error_message(error)) == 0                     \
            || strlen(dig_nat_error_advice(error)) == 0) {                   \
            fprintf(stderr, "line %d: %s gave %d: %s\n", __LINE__, #call, (int)got, dig_nat_error_message(error)); \
            return 1;                                                        \
        }                                                                    \
        dig_nat_error_free(error);                                           \
        dig_nat_error_free(error);                                           \
    } while (0)

#define INVALID DIG_NAT_STATUS_INVALID_ARGUMENT
#define STATE DIG_NAT_STATUS_INVALID_STATE

static int nulls(void)
{
    char hash[DIG_NAT_HASH_TEXT_BYTES];
    DigNatHost *host = NULL;
    DigNatResult *result = NULL;
    DigNatSubscription *subscription = NULL;
    char *text = NULL;

    FAILS(INVALID, dig_nat_runtime_new(0, NULL, &error));
    FAILS(INVALID, dig_nat_host_new(NULL, NULL, NULL, &host, &error));
    FAILS(INVALID, dig_nat_host_new(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_new(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_new(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_start(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_stop(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_add_file(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_add_directory(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_watch_directory(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_unwatch_directory(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_remove_file(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_files(NULL, &result, &error));
    FAILS(INVALID, dig_nat_host_files(NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_addresses(NULL, &result, &error));
    FAILS(INVALID, dig_nat_host_add_content_mapping(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_subscribe(NULL, NULL, NULL, &subscription, &error));
    FAILS(INVALID, dig_nat_client_start(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_stop(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_download(NULL, NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_file_info(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_find_peers(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_add_peer(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_add_content_mapping(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_subscribe(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_start(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_stop(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_connect(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_connect_to_peer(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_diagnose(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_diagnose(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_accept(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_download(NULL, NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_share_file(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_manager_subscribe(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_new(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_start(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_stop(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_addresses(NULL, &result, &error));
    FAILS(INVALID, dig_nat_discovery_announce(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_withdraw(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_watch(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_find_peers(NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_find_hash(NULL, NULL, 0, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_shard_prefixes(NULL, &result, &error));
    FAILS(INVALID, dig_nat_host_shard_prefixes(NULL, &result, &error));
    FAILS(INVALID, dig_nat_discovery_peers(NULL, NULL, &result, &error));
    FAILS(INVALID, dig_nat_discovery_peers(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_add_peer(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_add_content_mapping(NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discovery_subscribe(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_download_file(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_detect_nat_type(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_discover_public_ips(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_create_upnp_mapping(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_delete_upnp_mapping(NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_external_address_upnp(NULL, 0, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_nat_profile(NULL, &result, &error));
    FAILS(INVALID, dig_nat_client_nat_profile(NULL, &result, &error));
    FAILS(INVALID, dig_nat_manager_nat_profile(NULL, &result, &error));
    FAILS(INVALID, dig_nat_connection_send(NULL, NULL, NULL, 0, false, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_connection_receive(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_connection_close(NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_subscription_next(NULL, 0, &text, &error));
    FAILS(INVALID, dig_nat_subscription_next(NULL, 0, NULL, &error));
    FAILS(INVALID, dig_nat_task_wait(NULL, 0, NULL, &error));
    FAILS(INVALID, dig_nat_sha256(NULL, 1, hash, &error));
    FAILS(INVALID, dig_nat_sha256(NULL, 0, NULL, &error));
    FAILS(INVALID, dig_nat_sha256_file(NULL, NULL, NULL, NULL, NULL, &error));
    /* The error itself is optional. */
    CHECK(dig_nat_task_wait(NULL, 0, NULL, NULL) == INVALID);

    CHECK(dig_nat_host_port(NULL) == 0 && dig_nat_client_port(NULL) == 0 && dig_nat_manager_port(NULL) == 0);
    CHECK(dig_nat_discovery_port(NULL) == 0 && !dig_nat_discovery_peer_id(NULL) && !dig_nat_discovery_unwatch(NULL, NULL));
    CHECK(!dig_nat_discovery_hash_for_content(NULL, NULL) && !dig_nat_discovery_content_for_hash(NULL, NULL));
    CHECK(!dig_nat_host_id(NULL) && !dig_nat_host_peer_id(NULL) && !dig_nat_client_id(NULL));
    CHECK(!dig_nat_client_peer_id(NULL) && !dig_nat_manager_peer_id(NULL) && !dig_nat_host_has_file(NULL, NULL));
    CHECK(!dig_nat_host_hash_for_content(NULL, NULL) && !dig_nat_host_content_for_hash(NULL, NULL));
    CHECK(!dig_nat_manager_connection_type(NULL, NULL) && !dig_nat_connection_peer(NULL));
    CHECK(!dig_nat_connection_address(NULL) && !dig_nat_connection_type(NULL) && !dig_nat_task_is_finished(NULL));
    CHECK(!dig_nat_result_path(NULL) && !dig_nat_result_hash(NULL) && !dig_nat_result_item(NULL, 0));
    CHECK(!dig_nat_result_take_connection(NULL) && !dig_nat_result_data(NULL) && dig_nat_result_count(NULL) == 0);
    CHECK(strcmp(dig_nat_result_json(NULL), "") == 0 && strcmp(dig_nat_error_message(NULL), "") == 0);
    CHECK(dig_nat_error_status(NULL) == DIG_NAT_STATUS_OK);

    dig_nat_client_set_continuous_discovery(NULL, true);
    dig_nat_manager_set_continuous_discovery(NULL, true);
    dig_nat_task_cancel(NULL);
    dig_nat_task_free(NULL);
    dig_nat_result_free(NULL);
    dig_nat_error_free(NULL);
    dig_nat_host_free(NULL);
    dig_nat_client_free(NULL);
    dig_nat_manager_free(NULL);
    dig_nat_discovery_free(NULL);
    dig_nat_connection_free(NULL);
    dig_nat_subscription_free(NULL);
    dig_nat_runtime_free(NULL);
    dig_nat_string_free(NULL);
    dig_nat_node_options_init(NULL, 0);
    CHECK(!host && !result && !subscription && !text);
    return 0;
}

struct calls {
    int done;
    DigNatStatus status;
    DigNatStatus wait_inside;
    DigNatTask *task;
};

static void on_done(void *user, const DigNatResult *result, const DigNatError *error)
{
    struct calls *calls = user;
    calls->done++;
    calls->status = dig_nat_error_status(error);
    if ((result == NULL) == (error == NULL))
        calls->done += 100;
    /* Waiting inside a callback cannot work; freeing and cancelling can. */
    calls->wait_inside = dig_nat_task_wait(calls->task, DIG_NAT_WAIT_FOREVER, NULL, NULL);
}

static int handles(const char *directory)
{
    char text[4096];
    struct calls calls = { 0, DIG_NAT_STATUS_OK, DIG_NAT_STATUS_OK, NULL };
    DigNatRuntime *runtime = NULL;
    DigNatHost *host = NULL, *other = NULL;
    DigNatClient *client = NULL;
    DigNatTask *task = NULL;
    DigNatResult *result = NULL;
    DigNatSubscription *subscription = NULL;
    DigNatNodeOptions node;
    DigNatDownloadOptions download;
    DigNatNatOptions nat;
    DigNatMappingOptions mapping;
    DigNatError *failure = NULL;
    const char *not_utf8 = "\xff\xfe";
    const char *not_a_server = "turn:nonsense:x";
    char *event = NULL;

    FAILS(INVALID, dig_nat_runtime_new(1000000, &runtime, &error));
    CHECK(dig_nat_runtime_new(2, &runtime, NULL) == DIG_NAT_STATUS_OK && runtime);

    /* Options: wrong size, wrong switch, wrong range, wrong text, options of a newer library. */
    memset(&node, 0, sizeof node);
    FAILS(INVALID, dig_nat_host_new(runtime, &node, NULL, &host, &error));
    memset(&node, 0xff, sizeof node);
    FAILS(INVALID, dig_nat_host_new(runtime, &node, NULL, &host, &error));
    dig_nat_node_options_init(&node, sizeof node);
    node.enable_tcp = 17;
    FAILS(INVALID, dig_nat_host_new(runtime, &node, NULL, &host, &error));
    node.enable_tcp = DIG_NAT_SWITCH_OFF;
    node.enable_udp = DIG_NAT_SWITCH_OFF;
    FAILS(INVALID, dig_nat_host_new(runtime, &node, NULL, &host, &error));
    dig_nat_node_options_init(&node, sizeof node);
    node.persistence_dir = not_utf8;
    FAILS(INVALID, dig_nat_host_new(runtime, &node, NULL, &host, &error));
    dig_nat_node_options_init(&node, sizeof node);
    node.interfaces_count = 3;
    FAILS(INVALID, dig_nat_host_new(runtime, &node, NULL, &host, &error));
    CHECK(host == NULL);
    memset(text, 0, sizeof text);
    dig_nat_node_options_init((DigNatNodeOptions *)(void *)text, sizeof text);
    CHECK(dig_nat_host_new(runtime, (DigNatNodeOptions *)(void *)text, NULL, &host, &failure) == DIG_NAT_STATUS_OK);
    dig_nat_host_free(host);
    text[sizeof text - 1] = 1;
    FAILS(INVALID, dig_nat_host_new(runtime, (DigNatNodeOptions *)(void *)text, NULL, &host, &error));
    CHECK(host == NULL);

    CHECK(dig_nat_host_new(runtime, NULL, NULL, &host, &failure) == DIG_NAT_STATUS_OK && host && !failure);
    CHECK(dig_nat_client_new(runtime, NULL, NULL, &client, &failure) == DIG_NAT_STATUS_OK && client && !failure);

    /* Handles of another type, and addresses that never were handles. */
    FAILS(INVALID, dig_nat_client_start((DigNatClient *)(void *)host, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_start((DigNatHost *)(void *)client, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_start((DigNatHost *)(void *)text, NULL, NULL, NULL, &error));
    dig_nat_client_free((DigNatClient *)(void *)host);
    dig_nat_host_free((DigNatHost *)(void *)text);

    /* Texts. */
    FAILS(INVALID, dig_nat_host_add_file(host, NULL, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_add_file(host, "", NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_add_file(host, not_utf8, NULL, NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_host_remove_file(host, "no hash", NULL, NULL, NULL, &error));
    FAILS(INVALID, dig_nat_client_download(client, "", NULL, NULL, NULL, NULL, NULL, &error));
    dig_nat_download_options_init(&download, sizeof download);
    download.max_peers = 100000;
    FAILS(INVALID, dig_nat_client_download(client, "key", &download, NULL, NULL, NULL, NULL, &error));
    CHECK(!dig_nat_host_has_file(host, "no hash"));

    /* Looking at the NAT. */
    dig_nat_nat_options_init(&nat, sizeof nat);
    nat.timeout_ms = 5;
    FAILS(INVALID, dig_nat_detect_nat_type(runtime, &nat, NULL, NULL, NULL, &error));
    dig_nat_nat_options_init(&nat, sizeof nat);
    nat.stun_servers_count = 1;
    FAILS(INVALID, dig_nat_discover_public_ips(runtime, &nat, NULL, NULL, NULL, &error));
    nat.stun_servers = &not_a_server;
    CHECK(dig_nat_detect_nat_type(runtime, &nat, NULL, NULL, &task, &failure) == DIG_NAT_STATUS_OK);
    FAILS(INVALID, dig_nat_task_wait(task, 10000, &result, &error));
    dig_nat_task_free(task);
    task = NULL;
    dig_nat_mapping_options_init(&mapping, sizeof mapping);
    mapping.protocol = "SCTP";
    FAILS(INVALID, dig_nat_create_upnp_mapping(runtime, &mapping, NULL, NULL, NULL, &error));
    mapping.protocol = "UDP";
    CHECK(dig_nat_create_upnp_mapping(runtime, &mapping, NULL, NULL, &task, &failure) == DIG_NAT_STATUS_OK);
    FAILS(INVALID, dig_nat_task_wait(task, 10000, NULL, &error));
    dig_nat_task_free(task);
    CHECK(dig_nat_delete_upnp_mapping(runtime, NULL, NULL, NULL, &task, &failure) == DIG_NAT_STATUS_OK);
    FAILS(INVALID, dig_nat_task_wait(task, 10000, NULL, &error));
    dig_nat_task_free(task);
    task = NULL;
    FAILS(INVALID, dig_nat_host_nat_profile(host, NULL, &error));
    CHECK(dig_nat_host_nat_profile(host, &result, &failure) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(dig_nat_result_json(result), "null") == 0 && !dig_nat_result_text(result));
    dig_nat_result_free(result);
    result = NULL;

    /* A failing task: one completion, the same error for whoever waits, as often as they like. */
    snprintf(text, sizeof text, "%s/missing", directory);
    CHECK(dig_nat_sha256_file(runtime, text, on_done, &calls, &calls.task, &failure) == DIG_NAT_STATUS_OK);
    FAILS(DIG_NAT_STATUS_FILE_NOT_FOUND, dig_nat_task_wait(calls.task, 10000, &result, &error));
    FAILS(DIG_NAT_STATUS_FILE_NOT_FOUND, dig_nat_task_wait(calls.task, 10000, NULL, &error));
    CHECK(calls.done == 1 && calls.status == DIG_NAT_STATUS_FILE_NOT_FOUND && result == NULL);
    CHECK(calls.wait_inside == STATE && dig_nat_task_is_finished(calls.task));
    dig_nat_task_cancel(calls.task);
    dig_nat_task_free(calls.task);
    dig_nat_task_free(calls.task);
    FAILS(INVALID, dig_nat_task_wait(calls.task, 10000, NULL, &error));

    /* Events. */
    CHECK(dig_nat_host_subscribe(host, NULL, NULL, &subscription, &failure) == DIG_NAT_STATUS_OK);
    FAILS(DIG_NAT_STATUS_TIMEOUT, dig_nat_subscription_next(subscription, 10, &event, &error));
    CHECK(event == NULL);
    dig_nat_subscription_free(subscription);
    dig_nat_subscription_free(subscription);
    FAILS(INVALID, dig_nat_subscription_next(subscription, 10, &event, &error));

    /* Use after free, double free. */
    other = host;
    dig_nat_host_free(host);
    dig_nat_host_free(other);
    CHECK(dig_nat_host_port(other) == 0 && dig_nat_host_id(other) == NULL);
    FAILS(INVALID, dig_nat_host_start(other, NULL, NULL, &task, &error));
    CHECK(task == NULL);

    /* After the runtime. */
    dig_nat_runtime_free(runtime);
    dig_nat_runtime_free(runtime);
    FAILS(INVALID, dig_nat_host_new(runtime, NULL, NULL, &host, &error));
    FAILS(STATE, dig_nat_client_start(client, NULL, NULL, &task, &error));
    FAILS(STATE, dig_nat_client_subscribe(client, NULL, NULL, &subscription, &error));
    CHECK(dig_nat_client_port(client) == 0);
    dig_nat_client_free(client);
    CHECK(dig_nat_live_objects() == 0);
    return 0;
}

static int values(void)
{
    static const uint8_t data[] = { 'a', 'b', 'c' };
    char hash[DIG_NAT_HASH_TEXT_BYTES];
    char *manifest;

    CHECK(dig_nat_sha256(data, sizeof data, hash, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
    CHECK(dig_nat_sha256(NULL, 0, hash, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0);
    CHECK(strcmp(dig_nat_version(), DIG_NAT_VERSION) == 0);
    CHECK(strcmp(dig_nat_status_code(DIG_NAT_STATUS_NO_PEERS), "ERR_NO_PEERS") == 0);
    CHECK(strcmp(dig_nat_status_code(DIG_NAT_STATUS_OK), "OK") == 0);
    CHECK(strcmp(dig_nat_status_code(-5), "") == 0 && strcmp(dig_nat_status_advice(12345), "") == 0);
    CHECK(strlen(dig_nat_status_advice(DIG_NAT_STATUS_TIMEOUT)) > 0);
    manifest = dig_nat_manifest();
    CHECK(manifest && strstr(manifest, "\"operations\""));
    dig_nat_string_free(manifest);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2 || nulls() || values() || handles(argv[1]))
        return 1;
    puts("ok");
    return 0;
}
