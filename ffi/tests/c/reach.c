/*
 * A manager reaches another directly, by its id, through a relay, and not at all; the network is diagnosed.
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

#define NOBODY "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"

/* A started manager that looks for nobody by itself. */
static int started(DigNatRuntime *runtime, DigNatNodeOptions *node, DigNatManager **manager)
{
    DigNatResult *result = NULL;
    node->local_enabled = DIG_NAT_SWITCH_OFF;
    CHECK(dig_nat_manager_new(runtime, node, NULL, manager, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_manager_start(*manager, NULL, NULL, &task, &error));
    dig_nat_result_free(result);
    return 0;
}

/* The result of reaching has a connection to the peer, by this way. */
static int reached(const DigNatResult *result, const char *peer, const char *way)
{
    DigNatConnection *connection = dig_nat_result_take_connection(result);
    char expected[200];
    CHECK(connection && strcmp(dig_nat_result_peer(result), peer) == 0);
    CHECK(strcmp(dig_nat_result_text(result), way) == 0);
    CHECK(dig_nat_result_flag(result) == (strcmp(way, "circuit") == 0));
    snprintf(expected, sizeof expected, "{\"peer\":\"%s\",\"method\":\"%s\",\"connectionType\":\"", peer, way);
    CHECK(strncmp(dig_nat_result_json(result), expected, strlen(expected)) == 0);
    CHECK(strstr(dig_nat_result_json(result), "\"attempts\":{\"attempts\":["));
    dig_nat_connection_free(connection);
    return 0;
}

static int directly(DigNatManager *from, DigNatManager *to)
{
    DigNatConnectOptions options;
    DigNatResult *result = NULL;
    const char *addresses[1], *ways[1] = { "DIRECT_TCP" };
    char address[64], *peer = dig_nat_manager_peer_id(to);

    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)dig_nat_manager_port(to));
    addresses[0] = address;
    dig_nat_connect_options_init(&options, sizeof options);
    options.addresses = addresses;
    options.addresses_count = 1;
    options.preferred_methods = ways;
    options.preferred_methods_count = 1;
    options.save_to_registry = DIG_NAT_SWITCH_OFF;
    DO(dig_nat_manager_connect_to_peer(from, peer, &options, NULL, NULL, &task, &error));
    CHECK(strstr(dig_nat_result_json(result), "\"transport\":\"tcp\""));
    CHECK(dig_nat_result_port(result) == dig_nat_manager_port(to));
    if (reached(result, peer, "lan"))
        return 1;

    DO(dig_nat_manager_diagnose(from, peer, &options, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_flag(result) && dig_nat_result_count(result) > 0);
    CHECK(strstr(dig_nat_result_json(result), "\"reached\":{"));
    dig_nat_result_free(result);
    dig_nat_string_free(peer);
    return 0;
}

static int through_a_relay(DigNatRuntime *runtime, DigNatManager *from)
{
    DigNatNodeOptions node;
    DigNatManager *relay = NULL, *to = NULL;
    DigNatSubscription *events = NULL;
    DigNatResult *addresses = NULL, *result = NULL;
    const char *relays[1] = { NULL }, *ways[1] = { "relay" };
    DigNatConnectOptions options;
    char *event = NULL, *peer, *at, *end;
    size_t i;

    dig_nat_node_options_init(&node, sizeof node);
    node.relay_server = DIG_NAT_SWITCH_ON;
    if (started(runtime, &node, &relay))
        return 1;
    CHECK(dig_nat_manager_addresses(relay, &addresses, NULL) == DIG_NAT_STATUS_OK);
    for (i = 0; i < dig_nat_result_count(addresses); i++)
        if (strstr(dig_nat_result_text(dig_nat_result_item(addresses, i)), "/tcp/"))
            relays[0] = dig_nat_result_text(dig_nat_result_item(addresses, i));
    CHECK(relays[0]);

    dig_nat_node_options_init(&node, sizeof node);
    node.local_enabled = DIG_NAT_SWITCH_OFF;
    node.relays = relays;
    node.relays_count = 1;
    CHECK(dig_nat_manager_new(runtime, &node, NULL, &to, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_manager_subscribe(to, NULL, NULL, &events, NULL) == DIG_NAT_STATUS_OK);
    DO(dig_nat_manager_start(to, NULL, NULL, &task, &error));
    do {
        dig_nat_string_free(event);
        CHECK(dig_nat_subscription_next(events, 30000, &event, NULL) == DIG_NAT_STATUS_OK && event);
    } while (!strstr(event, "\"type\":\"relay:reserved\""));
    at = strstr(event, "\"address\":\"");
    CHECK(at);
    at += strlen("\"address\":\"");
    end = strchr(at, '"');
    CHECK(end);
    *end = '\0';

    peer = dig_nat_manager_peer_id(to);
    dig_nat_connect_options_init(&options, sizeof options);
    options.preferred_methods = ways;
    options.preferred_methods_count = 1;
    DO(dig_nat_manager_connect_to_peer(from, at, &options, NULL, NULL, &task, &error));
    if (reached(result, peer, "circuit"))
        return 1;
    dig_nat_string_free(event);
    dig_nat_string_free(peer);
    dig_nat_subscription_free(events);
    dig_nat_result_free(addresses);
    dig_nat_result_free(result);
    dig_nat_manager_free(to);
    dig_nat_manager_free(relay);
    return 0;
}

static int not_at_all(DigNatManager *from)
{
    DigNatConnectOptions options;
    DigNatResult *result = NULL;
    DigNatTask *task = NULL;
    DigNatError *error = NULL;
    const char *ways[1] = { "pigeon" };

    dig_nat_connect_options_init(&options, sizeof options);
    options.timeout_ms = 5000;
    CHECK(dig_nat_manager_connect_to_peer(from, NOBODY, &options, NULL, NULL, &task, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_task_wait(task, 30000, &result, &error) == DIG_NAT_STATUS_PEER_UNREACHABLE && !result);
    CHECK(strstr(dig_nat_error_message(error), "not tried: no such address is known"));
    CHECK(strstr(dig_nat_error_message(error), "what would help"));
    dig_nat_error_free(error);
    dig_nat_task_free(task);

    options.timeout_ms = 1000;
    DO(dig_nat_manager_diagnose(from, NOBODY, &options, NULL, NULL, &task, &error));
    CHECK(!dig_nat_result_flag(result) && strstr(dig_nat_result_json(result), "\"reached\":null"));
    DO(dig_nat_manager_diagnose(from, NULL, NULL, NULL, NULL, &task, &error));
    CHECK(!dig_nat_result_flag(result) && strstr(dig_nat_result_json(result), "\"peer\":null"));
    dig_nat_result_free(result);
    result = NULL;

    options.preferred_methods = ways;
    options.preferred_methods_count = 1;
    CHECK(dig_nat_manager_connect_to_peer(from, NOBODY, &options, NULL, NULL, &task, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_task_wait(task, 30000, NULL, &error) == DIG_NAT_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(dig_nat_error_message(error), "pigeon"));
    dig_nat_error_free(error);
    dig_nat_task_free(task);
    return 0;
}

static int diagnosed(DigNatRuntime *runtime, DigNatManager *server)
{
    DigNatNatOptions options;
    DigNatResult *result = NULL;
    const char *servers[1];
    char address[64];
    size_t i;

    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)dig_nat_manager_port(server));
    servers[0] = address;
    dig_nat_nat_options_init(&options, sizeof options);
    options.stun_servers = servers;
    options.stun_servers_count = 1;
    options.timeout_ms = 3000;
    DO(dig_nat_diagnose(runtime, &options, NULL, NULL, &task, &error));
    CHECK(dig_nat_result_text(result) && strlen(dig_nat_result_text(result)) > 0);
    CHECK(strstr(dig_nat_result_json(result), "\"ipv4\":\"127.0.0.1\"") && dig_nat_result_count(result) > 0);
    for (i = 0; i < dig_nat_result_count(result); i++)
        CHECK(strlen(dig_nat_result_text(dig_nat_result_item(result, i))) > 0);
    CHECK(dig_nat_diagnose(runtime, NULL, NULL, NULL, NULL, NULL) == DIG_NAT_STATUS_OK);
    dig_nat_result_free(result);
    return 0;
}

int main(void)
{
    DigNatRuntime *runtime = NULL;
    DigNatNodeOptions node;
    DigNatManager *from = NULL, *to = NULL;

    CHECK(dig_nat_runtime_new(2, &runtime, NULL) == DIG_NAT_STATUS_OK);
    dig_nat_node_options_init(&node, sizeof node);
    if (started(runtime, &node, &from) || started(runtime, &node, &to))
        return 1;
    if (directly(from, to) || through_a_relay(runtime, from) || not_at_all(from) || diagnosed(runtime, to))
        return 1;
    dig_nat_manager_free(from);
    dig_nat_manager_free(to);
    dig_nat_runtime_free(runtime);
    CHECK(dig_nat_live_objects() == 0);
    puts("ok");
    return 0;
}
