/*
 * Single ways through NATs between two sides in one program: hole punching, ICE over signalling that the program
 * carries, the connection registry, and, where a TURN server is given, two relayed addresses.
 *
 *     traversal DIRECTORY PORT OTHER-PORT GUN-RELAY [TURN-SERVER USER PASSWORD]
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

/* Waits for a task that has to succeed, and leaves its result in `result`. */
#define WAIT(running)                                                                            \
    do {                                                                                         \
        DigNatError *error = NULL;                                                               \
        dig_nat_result_free(result);                                                             \
        result = NULL;                                                                           \
        if (dig_nat_task_wait(running, 30000, &result, &error) != DIG_NAT_STATUS_OK) {           \
            fprintf(stderr, "line %d: %s\n", __LINE__, dig_nat_error_message(error));            \
            return 1;                                                                            \
        }                                                                                        \
        dig_nat_task_free(running);                                                              \
        running = NULL;                                                                          \
    } while (0)

/* Starts an operation that has to succeed, and waits for it. */
#define DO(call)                                     \
    do {                                             \
        DigNatTask *task = NULL;                     \
        CHECK((call) == DIG_NAT_STATUS_OK);          \
        WAIT(task);                                  \
    } while (0)

/* Starts an operation and expects it to fail. */
#define FAILS(wanted, call)                                                           \
    do {                                                                              \
        DigNatTask *task = NULL;                                                      \
        DigNatStatus got = (call);                                                    \
        if (got == DIG_NAT_STATUS_OK)                                                 \
            got = dig_nat_task_wait(task, 30000, NULL, NULL);                         \
        dig_nat_task_free(task);                                                      \
        CHECK(got == (wanted));                                                       \
    } while (0)

/* One piece each way, then the end. */
static int exchange(DigNatSocket *one, DigNatSocket *two)
{
    const uint8_t text[] = "through";
    DigNatResult *result = NULL;

    DO(dig_nat_socket_send(one, text, sizeof text, NULL, NULL, &task, NULL));
    DO(dig_nat_socket_receive(two, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_size(result) == sizeof text && memcmp(dig_nat_result_data(result), text, sizeof text) == 0);
    DO(dig_nat_socket_send(two, text, 3, NULL, NULL, &task, NULL));
    DO(dig_nat_socket_receive(one, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_size(result) == 3);
    DO(dig_nat_socket_close(one, NULL, NULL, &task, NULL));
    DO(dig_nat_socket_receive(one, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_data(result) == NULL && strcmp(dig_nat_result_json(result), "null") == 0);
    FAILS(DIG_NAT_STATUS_CONNECTION_CLOSED, dig_nat_socket_send(one, text, 1, NULL, NULL, &task, NULL));
    dig_nat_result_free(result);
    dig_nat_socket_free(one);
    dig_nat_socket_free(two);
    return 0;
}

typedef DigNatStatus punch(const DigNatRuntime *, const DigNatPunchOptions *, DigNatDoneFn, void *, DigNatTask **,
                           DigNatError **);

static int punching(const DigNatRuntime *runtime, punch *call, const char *type, const char *port, const char *other)
{
    char here[32], there[32];
    DigNatPunchOptions options;
    DigNatTask *first = NULL, *second = NULL;
    DigNatResult *result = NULL;
    DigNatSocket *one, *two;

    snprintf(here, sizeof here, "127.0.0.1:%s", port);
    snprintf(there, sizeof there, "127.0.0.1:%s", other);
    dig_nat_punch_options_init(&options, sizeof options);
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, call(runtime, &options, NULL, NULL, &task, NULL));
    options.key = "both know it";
    options.timeout_ms = 200;
    options.local_endpoint = here;
    options.remote_endpoint = there;
    FAILS(DIG_NAT_STATUS_PEER_UNREACHABLE, call(runtime, &options, NULL, NULL, &task, NULL));
    options.timeout_ms = 20000;
    CHECK(call(runtime, &options, NULL, NULL, &first, NULL) == DIG_NAT_STATUS_OK);
    options.local_endpoint = there;
    options.remote_endpoint = here;
    CHECK(call(runtime, &options, NULL, NULL, &second, NULL) == DIG_NAT_STATUS_OK);
    WAIT(first);
    CHECK(strcmp(dig_nat_result_text(result), type) == 0 && dig_nat_result_take_connection(result) == NULL);
    one = dig_nat_result_take_socket(result);
    CHECK(one && !dig_nat_result_take_socket(result));
    WAIT(second);
    two = dig_nat_result_take_socket(result);
    CHECK(two);
    dig_nat_result_free(result);
    result = NULL;
    CHECK(dig_nat_socket_info(one, &result, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(dig_nat_result_address(result), "127.0.0.1") == 0);
    CHECK(strstr(there, ":") && dig_nat_result_port(result) != 0 && strstr(dig_nat_result_json(result), other));
    dig_nat_result_free(result);
    return exchange(one, two);
}

/* Two sides that know each other's names, and the same Gun relay: a hole, and ICE. */
static int meeting(const DigNatRuntime *runtime, const char *relay)
{
    DigNatPunchOptions options;
    DigNatIceOptions ice;
    DigNatTask *first = NULL, *second = NULL;
    DigNatResult *result = NULL;
    DigNatSocket *one, *two;

    dig_nat_punch_options_init(&options, sizeof options);
    options.local_id = "one";
    options.gun_peers = &relay;
    options.gun_peers_count = 1;
    options.key = "both know it";
    options.allow_private = DIG_NAT_SWITCH_ON;
    options.timeout_ms = 30000;
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, dig_nat_punch_udp(runtime, &options, NULL, NULL, &task, NULL));
    options.remote_id = "two";
    CHECK(dig_nat_punch_udp(runtime, &options, NULL, NULL, &first, NULL) == DIG_NAT_STATUS_OK);
    options.local_id = "two";
    options.remote_id = "one";
    CHECK(dig_nat_punch_udp(runtime, &options, NULL, NULL, &second, NULL) == DIG_NAT_STATUS_OK);
    WAIT(first);
    one = dig_nat_result_take_socket(result);
    WAIT(second);
    two = dig_nat_result_take_socket(result);
    CHECK(one && two && exchange(one, two) == 0);
    dig_nat_ice_options_init(&ice, sizeof ice);
    ice.local_id = "one";
    ice.remote_id = "two";
    ice.gun_peers = &relay;
    ice.gun_peers_count = 1;
    ice.key = "both know it";
    ice.allow_private = DIG_NAT_SWITCH_ON;
    CHECK(dig_nat_connect_with_ice(runtime, &ice, NULL, NULL, NULL, &first, NULL) == DIG_NAT_STATUS_OK);
    ice.local_id = "two";
    ice.remote_id = "one";
    CHECK(dig_nat_connect_with_ice(runtime, &ice, NULL, NULL, NULL, &second, NULL) == DIG_NAT_STATUS_OK);
    WAIT(first);
    one = dig_nat_result_take_socket(result);
    WAIT(second);
    two = dig_nat_result_take_socket(result);
    dig_nat_result_free(result);
    return one && two ? exchange(one, two) : 1;
}

/* Brings the next message of one side to the other; false when there is none. */
static int carry(DigNatSignaling *from, DigNatSignaling *to, DigNatTask **waiting)
{
    DigNatResult *result = NULL;

    if (!*waiting)
        CHECK(dig_nat_signaling_outgoing(from, NULL, NULL, waiting, NULL) == DIG_NAT_STATUS_OK);
    if (dig_nat_task_wait(*waiting, 5, &result, NULL) != DIG_NAT_STATUS_OK)
        return 0;
    dig_nat_task_free(*waiting);
    *waiting = NULL;
    if (dig_nat_result_data(result)) {
        DigNatTask *task = NULL;
        CHECK(dig_nat_signaling_deliver(to, dig_nat_result_data(result), dig_nat_result_size(result), NULL, NULL, &task,
                                        NULL) == DIG_NAT_STATUS_OK);
        CHECK(dig_nat_task_wait(task, 30000, NULL, NULL) == DIG_NAT_STATUS_OK);
        dig_nat_task_free(task);
    }
    dig_nat_result_free(result);
    return 0;
}

static int ice(const DigNatRuntime *runtime)
{
    DigNatIceOptions options;
    DigNatSignaling *here = NULL, *there = NULL;
    DigNatTask *first = NULL, *second = NULL, *from_here = NULL, *from_there = NULL;
    DigNatResult *result = NULL;
    DigNatSocket *one, *two;

    CHECK(dig_nat_signaling_new(runtime, &here, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_signaling_new(runtime, &there, NULL) == DIG_NAT_STATUS_OK);
    dig_nat_ice_options_init(&options, sizeof options);
    options.allow_private = DIG_NAT_SWITCH_ON;
    options.timeout_ms = 20000;
    CHECK(dig_nat_connect_with_ice(runtime, &options, here, NULL, NULL, &first, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_connect_with_ice(runtime, &options, there, NULL, NULL, &second, NULL) == DIG_NAT_STATUS_OK);
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, dig_nat_connect_with_ice(runtime, NULL, here, NULL, NULL, &task, NULL));
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, dig_nat_connect_with_ice(runtime, NULL, NULL, NULL, NULL, &task, NULL));
    while (!dig_nat_task_is_finished(first) || !dig_nat_task_is_finished(second)) {
        CHECK(carry(here, there, &from_here) == 0);
        CHECK(carry(there, here, &from_there) == 0);
    }
    WAIT(first);
    one = dig_nat_result_take_socket(result);
    CHECK(one && strcmp(dig_nat_result_text(result), "ICE") == 0);
    CHECK(strstr(dig_nat_result_json(result), "\"localCandidate\":\"host\""));
    WAIT(second);
    two = dig_nat_result_take_socket(result);
    CHECK(two);
    dig_nat_result_free(result);
    dig_nat_task_free(from_here);
    dig_nat_task_free(from_there);
    dig_nat_signaling_free(here);
    dig_nat_signaling_free(there);
    return exchange(one, two);
}

static int remembering(const DigNatRuntime *runtime, const char *directory)
{
    DigNatRegistryOptions where;
    DigNatSaveConnectionOptions how;
    DigNatRegistry *registry = NULL;
    DigNatResult *result = NULL;

    dig_nat_registry_options_init(&where, sizeof where);
    where.registry_dir = directory;
    CHECK(dig_nat_registry_open(runtime, &where, &registry, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_registry_connection_method(registry, "peer", &result, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(dig_nat_result_json(result), "null") == 0);
    DO(dig_nat_registry_save(registry, "peer", "turn", NULL, NULL, NULL, &task, NULL));
    dig_nat_save_connection_options_init(&how, sizeof how);
    how.address = "192.0.2.1";
    how.port = 4001;
    how.metadata = "{\"relay\": \"x\"}";
    DO(dig_nat_registry_save(registry, "peer", "UDP_HOLE_PUNCH", &how, NULL, NULL, &task, NULL));
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT,
          dig_nat_registry_save(registry, "peer", "carrier pigeon", NULL, NULL, NULL, &task, NULL));
    dig_nat_registry_free(registry);
    registry = NULL;
    CHECK(dig_nat_registry_open(runtime, &where, &registry, NULL) == DIG_NAT_STATUS_OK);
    dig_nat_result_free(result);
    result = NULL;
    CHECK(dig_nat_registry_successful_methods(registry, "peer", &result, NULL) == DIG_NAT_STATUS_OK);
    CHECK(dig_nat_result_count(result) == 2);
    CHECK(strcmp(dig_nat_result_text(dig_nat_result_item(result, 1)), "TURN") == 0);
    dig_nat_result_free(result);
    result = NULL;
    CHECK(dig_nat_registry_connection_method(registry, "peer", &result, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(dig_nat_result_text(result), "UDP_HOLE_PUNCH") == 0 && dig_nat_result_port(result) == 4001);
    CHECK(strcmp(dig_nat_result_peer(result), "peer") == 0 && strstr(dig_nat_result_json(result), "\"relay\":\"x\""));
    DO(dig_nat_registry_cleanup(registry, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_size(result) == 0);
    DO(dig_nat_registry_remove(registry, "peer", NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_flag(result));
    dig_nat_result_free(result);
    dig_nat_registry_free(registry);
    return 0;
}

static int relaying(const DigNatRuntime *runtime, const char *server, const char *user, const char *password)
{
    const uint8_t text[] = "relayed";
    DigNatTurnServer list;
    DigNatTurnOptions options;
    DigNatAllocation *one, *two;
    DigNatResult *result = NULL, *where = NULL;

    dig_nat_turn_options_init(&options, sizeof options);
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, dig_nat_create_turn_allocation(runtime, &options, NULL, NULL, &task, NULL));
    options.turn_server = server;
    options.turn_username = user;
    options.turn_password = "wrong";
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, dig_nat_create_turn_allocation(runtime, &options, NULL, NULL, &task, NULL));
    options.turn_password = password;
    options.protocol = "TCP";
    DO(dig_nat_create_turn_allocation(runtime, &options, NULL, NULL, &task, NULL));
    one = dig_nat_result_take_allocation(result);
    CHECK(one && !dig_nat_result_take_allocation(result) && !dig_nat_result_take_socket(result));
    dig_nat_turn_options_init(&options, sizeof options);
    list.url = server;
    list.username = user;
    list.credential = password;
    options.turn_servers = &list;
    options.turn_servers_count = 1;
    DO(dig_nat_create_turn_allocation(runtime, &options, NULL, NULL, &task, NULL));
    two = dig_nat_result_take_allocation(result);
    CHECK(two && dig_nat_result_port(result) != 0);
    CHECK(dig_nat_allocation_info(two, &where, NULL) == DIG_NAT_STATUS_OK);
    CHECK(strcmp(dig_nat_result_address(where), dig_nat_result_address(result)) == 0);
    DO(dig_nat_allocation_permit(two, "127.0.0.1", NULL, NULL, &task, NULL));
    FAILS(DIG_NAT_STATUS_INVALID_ARGUMENT, dig_nat_allocation_permit(two, "nowhere", NULL, NULL, &task, NULL));
    DO(dig_nat_allocation_send_to(one, dig_nat_result_address(where), dig_nat_result_port(where), text, sizeof text, NULL,
                                  NULL, &task, NULL));
    DO(dig_nat_allocation_receive(two, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_size(result) == sizeof text && memcmp(dig_nat_result_data(result), text, sizeof text) == 0);
    CHECK(strcmp(dig_nat_result_address(result), "127.0.0.1") == 0 && dig_nat_result_port(result) != 0);
    DO(dig_nat_allocation_refresh(two, 700, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_size(result) > 0);
    DO(dig_nat_allocation_release(two, NULL, NULL, &task, NULL));
    DO(dig_nat_allocation_receive(two, NULL, NULL, &task, NULL));
    CHECK(dig_nat_result_data(result) == NULL);
    dig_nat_result_free(result);
    dig_nat_result_free(where);
    dig_nat_allocation_free(one);
    dig_nat_allocation_free(two);
    return 0;
}

int main(int argc, char **argv)
{
    DigNatRuntime *runtime = NULL;

    CHECK(argc == 5 || argc == 8);
    CHECK(dig_nat_runtime_new(2, &runtime, NULL) == DIG_NAT_STATUS_OK);
    if (punching(runtime, dig_nat_punch_udp, "UDP_HOLE_PUNCH", argv[2], argv[3])
        || punching(runtime, dig_nat_punch_tcp, "TCP_HOLE_PUNCH", argv[2], argv[3])
        || punching(runtime, dig_nat_tcp_simultaneous_open, "TCP_SIMULTANEOUS_OPEN", argv[2], argv[3]))
        return 1;
    if (meeting(runtime, argv[4]) || ice(runtime) || remembering(runtime, argv[1]))
        return 1;
    if (argc == 8 && relaying(runtime, argv[5], argv[6], argv[7]))
        return 1;
    dig_nat_runtime_free(runtime);
    CHECK(dig_nat_live_objects() == 0);
    puts("ok");
    return 0;
}
