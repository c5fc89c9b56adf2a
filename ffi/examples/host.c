/*
 * Shares one file and prints its hash and the addresses to reach it, until its standard input ends or a line comes.
 *
 *     host FILE [PORT]
 */
#include <dig_nat.h>
#include <stdio.h>
#include <stdlib.h>

/* Prints an error and frees it. */
static int failed(const char *what, DigNatError *error)
{
    fprintf(stderr, "%s: %s (%s); %s\n", what, dig_nat_error_message(error), dig_nat_error_code(error),
            dig_nat_error_advice(error));
    dig_nat_error_free(error);
    return 1;
}

/* Starts the host, adds the file, prints what a client needs, and waits. */
static int share(DigNatHost *host, const char *path)
{
    DigNatError *error = NULL;
    DigNatTask *task = NULL;
    DigNatResult *file = NULL, *addresses = NULL;
    size_t i;
    int c;

    if (dig_nat_host_start(host, NULL, NULL, &task, &error) || dig_nat_task_wait(task, 30000, NULL, &error)) {
        dig_nat_task_free(task);
        return failed("start", error);
    }
    dig_nat_task_free(task);

    if (dig_nat_host_add_file(host, path, NULL, NULL, NULL, &task, &error)
        || dig_nat_task_wait(task, DIG_NAT_WAIT_FOREVER, &file, &error)) {
        dig_nat_task_free(task);
        return failed(path, error);
    }
    dig_nat_task_free(task);
    printf("hash %s\n", dig_nat_result_hash(file));
    dig_nat_result_free(file);

    if (dig_nat_host_addresses(host, &addresses, &error))
        return failed("addresses", error);
    for (i = 0; i < dig_nat_result_count(addresses); i++)
        printf("address %s\n", dig_nat_result_text(dig_nat_result_item(addresses, i)));
    dig_nat_result_free(addresses);
    printf("port %u\nready\n", (unsigned)dig_nat_host_port(host));
    fflush(stdout);

    do
        c = getchar();
    while (c != EOF && c != '\n');

    if (dig_nat_host_stop(host, NULL, NULL, &task, &error) || dig_nat_task_wait(task, 30000, NULL, &error)) {
        dig_nat_task_free(task);
        return failed("stop", error);
    }
    dig_nat_task_free(task);
    return 0;
}

int main(int argc, char **argv)
{
    DigNatRuntime *runtime = NULL;
    DigNatHost *host = NULL;
    DigNatError *error = NULL;
    DigNatNodeOptions options;
    int result;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s FILE [PORT]\n", argv[0]);
        return 2;
    }
    dig_nat_node_options_init(&options, sizeof options);
    if (argc > 2)
        options.port = (uint16_t)strtoul(argv[2], NULL, 10);

    if (dig_nat_runtime_new(0, &runtime, &error))
        return failed("runtime", error);
    if (dig_nat_host_new(runtime, &options, NULL, &host, &error))
        result = failed("host", error);
    else
        result = share(host, argv[1]);
    dig_nat_host_free(host);
    dig_nat_runtime_free(runtime);
    return result;
}
