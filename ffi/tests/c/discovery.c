/*
 * Finding and announcing without hosting: one object announces, another finds it by itself and in the background, is told
 * of a peer, and forgets nothing it should know.
 */
#include <dig_nat.h>
#include <stdio.h>
#include <string.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

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

/* Announced by one, found by the other until it is withdrawn. */
static int announcing(DigNatDiscovery *one, DigNatDiscovery *other)
{
    DigNatResult *result = NULL, *known = NULL;
    DigNatTask *nobody = NULL;
    DigNatAnnounceOptions announce;
    DigNatFindOptions find;
    DigNatKnownPeersOptions only;
    char *peer = NULL, *hash = NULL;

    dig_nat_announce_options_init(&announce, sizeof announce);
    announce.content_id = "a readable id";
    DO(dig_nat_discovery_announce(one, HASH, &announce, NULL, NULL, &task, &error));
    peer = dig_nat_discovery_peer_id(one);
    hash = dig_nat_discovery_hash_for_content(one, "a readable id");
    CHECK(peer && hash && strcmp(hash, HASH) == 0);
    dig_nat_string_free(hash);
    dig_nat_find_options_init(&find, sizeof find);
    find.max_peers = 1;
    find.timeout_ms = 20000;
    DO(dig_nat_discovery_find_peers(other, "a readable id", &find, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_count(result) == 1);
    CHECK(strcmp(dig_nat_result_peer(dig_nat_result_item(result, 0)), peer) == 0);
    dig_nat_known_peers_options_init(&only, sizeof only);
    only.key = "a readable id";
    only.source = "local";
    CHECK(dig_nat_discovery_peers(other, &only, &known, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(known) == 1);
    CHECK(strcmp(dig_nat_result_peer(dig_nat_result_item(known, 0)), peer) == 0);
    dig_nat_result_free(known);
    only.source = "dht";
    CHECK(dig_nat_discovery_peers(other, &only, &known, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(known) == 0);
    dig_nat_result_free(known);
    dig_nat_string_free(peer);

    /* Nothing of this program listens there. */
    announce.port = 1;
    CHECK(dig_nat_discovery_announce(one, HASH, &announce, NULL, NULL, &nobody, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_task_wait(nobody, 30000, NULL, NULL) == DIG_NAT_STATUS_INVALID_ARGUMENT);
    dig_nat_task_free(nobody);
    DO(dig_nat_discovery_withdraw(one, HASH, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_flag(result));
    DO(dig_nat_discovery_withdraw(one, HASH, NULL, NULL, &task, &error));
    CHECK(!dig_nat_result_flag(result));
    dig_nat_result_free(result);
    return 0;
}

/* A search in the background says by an event what it found. */
static int watching(DigNatDiscovery *one, DigNatDiscovery *other)
{
    DigNatResult *result = NULL;
    DigNatSubscription *events = NULL;
    char *event = NULL;
    bool watched = true;

    CHECK(dig_nat_discovery_subscribe(other, NULL, NULL, &events, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_discovery_watch(other, "watched", "urgent", &watched, NULL) == DIG_NAT_STATUS_INVALID_ARGUMENT && !watched);
    CHECK(dig_nat_discovery_watch(other, "watched", "high", &watched, NULL) == DIG_NAT_STATUS_OK && watched);
    CHECK(dig_nat_discovery_watch(other, "watched", "low", NULL, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_discovery_announce(one, "watched", NULL, NULL, NULL, &task, &error));
    do {
        dig_nat_string_free(event);
        CHECK(dig_nat_subscription_next(events, 30000, &event, NULL) == DIG_NAT_STATUS_OK && event);
    } while (!strstr(event, "\"type\":\"peer:discovered\"") || !strstr(event, "watched"));
    dig_nat_string_free(event);
    CHECK(dig_nat_discovery_unwatch(other, "watched") && !dig_nat_discovery_unwatch(other, "watched"));
    dig_nat_subscription_free(events);
    dig_nat_result_free(result);
    return 0;
}

/* What it is told: a peer for one content, and an id for a hash. */
static int telling(DigNatDiscovery *other)
{
    DigNatResult *result = NULL;
    DigNatKnownPeersOptions only;
    char *text;

    CHECK(dig_nat_discovery_add_peer(other, "127.0.0.1:9", HASH, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_discovery_add_peer(other, "nowhere", HASH, NULL) == DIG_NAT_STATUS_INVALID_ARGUMENT);
    dig_nat_known_peers_options_init(&only, sizeof only);
    only.source = "manual";
    only.key = HASH;
    CHECK(dig_nat_discovery_peers(other, &only, &result, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(result) == 1);
    CHECK(dig_nat_result_port(dig_nat_result_item(result, 0)) == 9);
    dig_nat_result_free(result);
    only.source = "rumour";
    CHECK(dig_nat_discovery_peers(other, &only, &result, NULL) == DIG_NAT_STATUS_INVALID_ARGUMENT && !result);
    CHECK(dig_nat_discovery_add_content_mapping(other, "another id", HASH, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_discovery_find_hash(other, "another id", 0, NULL, NULL, &task, &error));
    CHECK(strcmp(dig_nat_result_hash(result), HASH) == 0);
    DO(dig_nat_discovery_find_hash(other, "an id of nobody", 200, NULL, NULL, &task, &error));
    CHECK(strcmp(dig_nat_result_json(result), "null") == 0);
    dig_nat_result_free(result);
    CHECK(dig_nat_discovery_shard_prefixes(other, &result, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(result) == 0);
    dig_nat_result_free(result);
    text = dig_nat_discovery_content_for_hash(other, HASH);
    CHECK(text && strcmp(text, "another id") == 0);
    dig_nat_string_free(text);
    DO(dig_nat_discovery_remove_content_mapping(other, "another id", NULL, NULL, &task, &error));
    CHECK(dig_nat_result_flag(result) && !dig_nat_discovery_content_for_hash(other, HASH));
    DO(dig_nat_discovery_remove_content_mapping(other, "another id", NULL, NULL, &task, &error));
    CHECK(!dig_nat_result_flag(result));
    dig_nat_result_free(result);
    return 0;
}

/* Two nodes of a hash table know each other. */
static int nodes(DigNatRuntime *runtime)
{
    DigNatDiscovery *first = NULL, *other = NULL;
    DigNatResult *result = NULL;
    DigNatNodeOptions options;
    char entry[32], *peer;
    const char *entries = entry;

    dig_nat_node_options_init(&options, sizeof options);
    options.local_enabled = DIG_NAT_SWITCH_OFF;
    CHECK(dig_nat_discovery_new(runtime, &options, &first, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_discovery_start(first, NULL, NULL, &task, &error));
    snprintf(entry, sizeof entry, "127.0.0.1:%d", dig_nat_discovery_port(first));
    options.bootstrap_nodes = &entries;
    options.bootstrap_nodes_count = 1;
    CHECK(dig_nat_discovery_new(runtime, &options, &other, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_discovery_find_node(other, HASH, 30000, NULL, NULL, &task, &error));
    peer = dig_nat_discovery_peer_id(first);
    CHECK(peer && dig_nat_result_count(result) == 1);
    CHECK(strcmp(dig_nat_result_peer(dig_nat_result_item(result, 0)), peer) == 0);
    dig_nat_string_free(peer);
    dig_nat_result_free(result);
    dig_nat_discovery_free(other);
    dig_nat_discovery_free(first);
    return 0;
}

int main(void)
{
    DigNatRuntime *runtime = NULL;
    DigNatDiscovery *one = NULL, *other = NULL;
    DigNatResult *result = NULL;

    CHECK(dig_nat_runtime_new(2, &runtime, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_discovery_new(runtime, NULL, &one, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_discovery_new(runtime, NULL, &other, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_discovery_port(other) == 0 && !dig_nat_discovery_peer_id(other));
    CHECK(dig_nat_discovery_watch(other, "early", "high", NULL, NULL) == DIG_NAT_STATUS_INVALID_STATE);
    CHECK(dig_nat_discovery_peers(other, NULL, &result, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(result) == 0);
    DO(dig_nat_discovery_start(other, NULL, NULL, &task, &error));
    CHECK(dig_nat_discovery_port(other) != 0);
    dig_nat_result_free(result);
    CHECK(dig_nat_discovery_addresses(other, &result, NULL) == DIG_NAT_STATUS_OK && dig_nat_result_count(result) > 0);
    /* Announcing starts the other one by itself. */
    if (announcing(one, other) || watching(one, other) || telling(other) || nodes(runtime))
        return 1;
    DO(dig_nat_discovery_stop(one, NULL, NULL, &task, &error));
    DO(dig_nat_discovery_stop(one, NULL, NULL, &task, &error));
    dig_nat_result_free(result);
    dig_nat_discovery_free(one);
    dig_nat_discovery_free(other);
    dig_nat_runtime_free(runtime);
    CHECK(dig_nat_live_objects() == 0);
    puts("ok");
    return 0;
}
