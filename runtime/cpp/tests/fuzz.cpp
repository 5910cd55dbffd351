// Damaged files for a reader of untrusted ones: it must give a result, or an error that a terminal can show.
//
//     frcrn_fuzz manifest|npz|onnx MUTATIONS   so many of its own, of small files that are right
//     frcrn_fuzz manifest|npz|onnx             from standard input, each after its length in 8 bytes
//
// Anything else ends the program. It prints "ok" after each file of standard input.
#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "bundle/npz.h"
#include "bundle/onnx_file.h"
#include "error.h"
#include "samples.h"
#include "streaming/transform.h"

namespace {

using namespace frcrn::samples;

// A reader may take this much memory.
constexpr size_t kRoomBytes = size_t{700} << 20;

void read_manifest(const std::string &content) {
    const frcrn::Manifest manifest = frcrn::parse_manifest(content, "manifest.json");
    for (const frcrn::File &file : manifest.files)
        if (file.streaming) frcrn::stream_transform(manifest, file);
}

void read_npz(const std::string &content) { frcrn::read_npz(File(content).path()); }

// As a network, and as the EPContext file of an engine.
void read_onnx(const std::string &content) {
    const File file(content);
    frcrn::foreign_part(file.path());
    frcrn::foreign_part_of_context(file.path(), "a.engine");
}

std::vector<std::string> npz_seeds() {
    return {
        zip({{"core.a.input.npy", npy("(1, 2, 3)", {1, 2, 3, 4, 5, 6})}, {"core.a.output.npy", npy("(2,)", {1, 2})}}),
        zip({{"scalar.npy", npy("()", {7})}})};
}

std::vector<std::string> onnx_seeds() {
    const std::string body = graph({node("Add")});
    const std::string mode = field(5, field(1, "embed_mode") + "\x18" + '\0');
    return {onnx(graph({node("EPContext", mode + field(5, field(1, "ep_cache_context") + field(4, "a.engine")))})),
            onnx(graph({node("Conv"), node("Relu"), node("Scan", attribute_graph(body))})),
            onnx(graph({node("If", attribute_graph(body) + attribute_graph(body))}) + field(5, field(8, "weights")))};
}

struct Reader {
    const char *name;
    void (*read)(const std::string &);
    std::vector<std::string> seeds;
};

std::string damaged(std::mt19937_64 &random, std::string data) {
    static const uint64_t extremes[] = {0,          1,          0x7f,       0xff,       0xffff,     0x7fffffff,
                                        0x80000000, 0xfffffffe, 0xffffffff, 1ULL << 40, ~0ULL >> 1, ~0ULL};
    static const char *const words[] = {"1e999",
                                        "-1",
                                        "null",
                                        "{}",
                                        "[",
                                        "\"",
                                        "99999999999999999999",
                                        "../",
                                        "Loop",
                                        "PK\x01\x02",
                                        "(4294967296, 4294967296)",
                                        "\xff\xfe",
                                        "true",
                                        "0.5",
                                        "2097153"};
    const auto place = [&] { return data.empty() ? 0 : random() % data.size(); };
    for (uint64_t times = random() % 4 + 1; times > 0; --times) {
        const size_t at = place();
        switch (random() % 6) {
            case 0:
                if (!data.empty()) data[at] = static_cast<char>(data[at] ^ (1 << random() % 8));
                break;
            case 1: data.replace(at, std::min<size_t>(data.size() - at, 4), little(extremes[random() % 12], 4)); break;
            case 2: data.replace(at, std::min<size_t>(data.size() - at, 8), little(extremes[random() % 12], 8)); break;
            case 3: data.resize(at); break;
            case 4: data.replace(at, random() % 8 % (data.size() - at + 1), words[random() % 15]); break;
            default: data.insert(at, data.substr(place(), random() % 64)); break;
        }
    }
    return data;
}

void read(const Reader &reader, const std::string &content) {
    try {
        reader.read(content);
    } catch (const frcrn::Error &error) {
        const std::string text = error.what();
        bool shown = error.status == FRCRN_BUNDLE && !text.empty() && text.size() < FRCRN_ERROR_TEXT;
        for (const char c : text) shown = shown && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
        if (shown) return;
        std::fprintf(stderr, "%s: %s\n", frcrn_status_name(error.status), text.c_str());
        std::abort();
    }
}

void serve(const Reader &reader) {
    uint64_t length = 0;
    while (std::fread(&length, sizeof length, 1, stdin) == 1) {
        std::string content(length, '\0');
        if (std::fread(content.data(), 1, length, stdin) != length) std::abort();
        read(reader, content);
        std::puts("ok");
        std::fflush(stdout);
    }
}

}  // namespace

int main(int count, char **arguments) {
    const Reader readers[] = {
        {"manifest", read_manifest, {manifest()}}, {"npz", read_npz, npz_seeds()}, {"onnx", read_onnx, onnx_seeds()}};
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which take all addresses
    const rlimit limit = {kRoomBytes, kRoomBytes};
    ::setrlimit(RLIMIT_AS, &limit);
#endif
    for (const Reader &reader : readers) {
        if (count < 2 || std::strcmp(arguments[1], reader.name) != 0) continue;
        for (const std::string &seed : reader.seeds) reader.read(seed);  // they are right
        if (count == 2) {
            serve(reader);
            return 0;
        }
        for (int number = 0; number < std::atoi(arguments[2]); ++number) {
            std::mt19937_64 random(static_cast<uint64_t>(number));
            read(reader, damaged(random, reader.seeds[random() % reader.seeds.size()]));
        }
        return 0;
    }
    std::fprintf(stderr, "frcrn_fuzz manifest|npz|onnx [MUTATIONS]\n");
    return 2;
}
