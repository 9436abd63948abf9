/* The last error belongs to the thread that met it, and survives success. */

#define _POSIX_C_SOURCE 200809L
#include <pthread.h>

#include "check.h"

static void *other_thread(void *unused)
{
    (void)unused;
    CHECK(strcmp(ntp_last_error(), "") == 0);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now(NULL, NULL));
    EXPECT_TEXT("`reading` is NULL");
    return NULL;
}

static pthread_key_t key;

/* Runs while its thread ends, when the library's own thread-local data may be gone already. */
static void late_calls(void *unused)
{
    (void)unused;
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now(NULL, NULL));
    CHECK(ntp_last_error() != NULL);
    CHECK(ntp_now() > 0);
}

static void *ending_thread(void *unused)
{
    (void)unused;
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now(NULL, NULL));
    CHECK(pthread_setspecific(key, &key) == 0);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    ntp_config *config = ntp_config_new();

    CHECK(strcmp(ntp_version_string(), NTPCLOCK_VERSION_STRING) == 0);
    CHECK(NTPCLOCK_VERSION_NUMBER
          == NTPCLOCK_VERSION_MAJOR * 10000 + NTPCLOCK_VERSION_MINOR * 100 + NTPCLOCK_VERSION_PATCH);
    CHECK(strcmp(ntp_last_error(), "") == 0);

    EXPECT(NTP_ERR_INVALID_SERVER, ntp_config_add_servers(config, "a:b"));
    EXPECT_TEXT("server `a:b`");
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    EXPECT_TEXT("server `a:b`");

    EXPECT(NTP_OK, ntp_config_add_servers(config, "127.0.0.1:1"));
    EXPECT_TEXT("server `a:b`");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_poll(config, 20, 20));
    EXPECT_TEXT("20");
    ntp_config_free(config);

    CHECK(pthread_key_create(&key, late_calls) == 0);
    CHECK(pthread_create(&thread, NULL, ending_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}
