// secure EXCHANGER CERTIFICATES: has authenticated time, from a server that CERTIFICATES vouch for.
// secure EXCHANGER CERTIFICATES OTHERS: beside others, and says what the time is worth until these have answered.
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "ntpclock.hpp"

namespace {

int secure(const std::string& exchanger, const std::string& certificates, const std::string& others) {
    ntp::config config;
    ntp::server_options options;
    options.nts = true;
    config.add_servers(exchanger, options).add_trusted_certificates(certificates).platform_trust(false);
    if (!others.empty()) {
        config.add_servers(others, options);
    }
    const ntp::client client{config};
    if (!client.wait_for(std::chrono::seconds{20})) {
        std::fprintf(stderr, "no time: %s\n", ntp::last_error().c_str());
        return 1;
    }
    const auto source = client.sources().at(0);
    if (!others.empty()) {
        const bool provisional = client.now().provisional() && !client.now().authenticated();
        std::printf("%s, source %s\n", provisional ? "provisional" : "not provisional", ntp::name(source.security()));
        return 0;
    }
    const bool authenticated = client.now().authenticated() && source.security() == ntp::nts_state::authenticated;
    const auto answer = ntp::query(config, exchanger + " nts", std::chrono::seconds{10});
    std::printf("%s, cipher %d, query %s\n", authenticated ? ntp::name(source.security()) : "not authenticated",
                source.nts_algorithm, answer.authenticated != 0 ? "authenticated" : "not authenticated");
    try {
        ntp::query(exchanger + " nts", std::chrono::seconds{10});
    } catch (const ntp::error& error) {
        return error.code() == ntp::errc::key_exchange ? 0 : 1;
    }
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && argc != 4) {
        std::fprintf(stderr, "usage: %s EXCHANGER CERTIFICATES [OTHERS]\n", argv[0]);
        return 2;
    }
    try {
        return secure(argv[1], argv[2], argc == 4 ? argv[3] : "");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
