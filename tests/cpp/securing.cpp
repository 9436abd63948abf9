// securing CERTIFICATE KEY CERTIFICATES: serves NTS, and has authenticated time from itself.
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "ntpclock.hpp"

namespace {

int securing(const std::string& certificate, const std::string& key, const std::string& certificates) {
    ntp::server_config wishes;
    wishes.listen("127.0.0.1:0").local(3, std::chrono::milliseconds{2}).nts(certificate, key).nts_port(0);
    const ntp::server server{wishes};
    ntp::config config;
    config.add_trusted_certificates(certificates).platform_trust(false);
    const std::string entry = "127.0.0.1:" + std::to_string(server.nts_port()) + " nts";
    const auto answer = ntp::query(config, entry, std::chrono::seconds{10});
    std::printf("%s, %u key exchange\n", answer.authenticated != 0 ? "authenticated" : "not authenticated",
                static_cast<unsigned>(server.statistics().key_exchanges));
    try {
        ntp::server_config().nts_cookie_keys("/x");
    } catch (const ntp::error&) {
        return 0;
    }
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s CERTIFICATE KEY CERTIFICATES\n", argv[0]);
        return 2;
    }
    try {
        return securing(argv[1], argv[2], argv[3]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
