/*
 * Downloads a file by its hash (or readable id) and shows how it goes.
 *
 *     client KEY TARGET [ADDRESS...]
 *
 * An address is host:port, a multiaddr or a peer id; without one, peers are looked for on the local network.
 */
#include <dig_nat.h>
#include <stdio.h>

/* Counts what the callbacks saw. They run on a thread of the library; dig_nat_task_wait makes their work visible here. */
struct seen {
    unsigned progress_calls;
    unsigned done_calls;
    uint64_t bytes;
};

static void on_progress(void *user, const DigNatProgress *progress)
{
    struct seen *seen = user;
    seen->progress_calls++;
    seen->bytes = progress->bytes;
    fprintf(stderr, "%5.1f %%  %llu of %llu bytes, %.1f MB/s, %u peers\n", progress->fraction * 100,
            (unsigned long long)progress->bytes, (unsigned long long)progress->total, progress->rate / 1e6,
            (unsigned)progress->peer_count);
}

static void on_done(void *user, const DigNatResult *result, const DigNatError *error)
{
    struct seen *seen = user;
    (void)result;
    (void)error;
    seen->done_calls++;
}

static int failed(const char *what, DigNatError *error)
{
    fprintf(stderr, "%s: %s (%s); %s\n", what, dig_nat_error_message(error), dig_nat_error_code(error),
            dig_nat_error_advice(error));
    dig_nat_error_free(error);
    return 1;
}

int main(int argc, char **argv)
{
    DigNatRuntime *runtime = NULL;
    DigNatClient *client = NULL;
    DigNatError *error = NULL;
    DigNatTask *task = NULL;
    DigNatResult *file = NULL;
    DigNatDownloadOptions options;
    struct seen seen = { 0, 0, 0 };
    int result = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: %s KEY TARGET [ADDRESS...]\n", argv[0]);
        return 2;
    }
    dig_nat_download_options_init(&options, sizeof options);
    options.save_path = argv[2];
    options.peers = (const char *const *)(argv + 3);
    options.peers_count = (size_t)(argc - 3);

    if (dig_nat_runtime_new(0, &runtime, &error))
        return failed("runtime", error);
    if (dig_nat_client_new(runtime, NULL, NULL, &client, &error)) {
        result = failed("client", error);
    } else if (dig_nat_client_download(client, argv[1], &options, on_progress, on_done, &seen, &task, &error)
               || dig_nat_task_wait(task, DIG_NAT_WAIT_FOREVER, &file, &error)) {
        result = failed("download", error);
    } else {
        printf("path %s\nhash %s\nsize %llu\n", dig_nat_result_path(file), dig_nat_result_hash(file),
               (unsigned long long)dig_nat_result_size(file));
        printf("progress calls %u, done calls %u, last progress %llu\n", seen.progress_calls, seen.done_calls,
               (unsigned long long)seen.bytes);
        dig_nat_result_free(file);
    }
    dig_nat_task_free(task);
    dig_nat_client_free(client);
    dig_nat_runtime_free(runtime);
    return result;
}
