// The C functions before a network runs: NULL, sizes of structs, bundles that are none.
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "fake_runtime.h"
#include "frcrn.h"
#include "samples.h"

namespace {

const std::string kTest = "test";  // of the sha256 in the manifest

// A bundle whose files match their hashes and are no networks.
class Folder {
public:
    Folder() {
        char name[] = "/tmp/frcrn-test-XXXXXX";
        path = ::mkdtemp(name);
        ::mkdir((path + "/streaming").c_str(), 0700);
        write("manifest.json", frcrn::samples::manifest());
        for (const char *file : kFiles) write(file, kTest);
    }
    ~Folder() {
        ::unlink((path + "/manifest.json").c_str());
        for (const char *file : kFiles) ::unlink((path + "/" + file).c_str());
        ::rmdir((path + "/streaming").c_str());
        ::rmdir(path.c_str());
    }
    void write(const std::string &name, const std::string &content) const {
        ::unlink((path + "/" + name).c_str());
        std::ofstream(path + "/" + name, std::ios::binary) << content;
    }

    std::string path;

private:
    static constexpr const char *kFiles[] = {"core.onnx", "streaming/core.onnx", "core.engine"};
};

frcrn_model_options fake() {
    frcrn_model_options options = FRCRN_MODEL_OPTIONS_INIT;
    options.ort_api_base = frcrn::samples::fake_runtime<17>();
    return options;
}

// A status and its text, of a call that must not succeed.
struct Refusal {
    frcrn_status status;
    std::string text;
};

Refusal opening(const std::string &bundle, const frcrn_model_options &options) {
    frcrn_error error;
    frcrn_model *model = reinterpret_cast<frcrn_model *>(&error);
    const frcrn_status status = frcrn_model_open(bundle.c_str(), &options, &model, &error);
    CHECK(status != FRCRN_OK);
    CHECK(error.status == status);
    CHECK(model == nullptr);
    return {status, error.text};
}

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

class Model {
public:
    Model() {
        frcrn_error error;
        const frcrn_model_options options = fake();
        REQUIRE(frcrn_model_open(folder.path.c_str(), &options, &model, &error) == FRCRN_OK);
    }
    ~Model() { frcrn_model_free(model); }

    Folder folder;
    frcrn_model *model = nullptr;
};

}  // namespace

TEST_CASE("C: names and versions") {
    CHECK(std::string(frcrn_version()) == "0.2.0");
    CHECK(std::string(frcrn_status_name(FRCRN_OK)) == "FRCRN_OK");
    CHECK(std::string(frcrn_status_name(FRCRN_INTERNAL)) == "FRCRN_INTERNAL");
    for (const int other : {-1, 13, 1 << 30})
        CHECK(std::string(frcrn_status_name(static_cast<frcrn_status>(other))) == "unknown status");
}

TEST_CASE("C: NULL is an argument like others") {
    frcrn_error error;
    float sample = 0;
    size_t written = 1, n = 1;
    const float *in = &sample;
    float *out = &sample;
    frcrn_model *model = nullptr;
    frcrn_stream *stream = nullptr;
    frcrn_batch *batch = nullptr;
    frcrn_live *live = nullptr;
    frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
    frcrn_stream_stats stats = FRCRN_STREAM_STATS_INIT;
    for (frcrn_error *to : {&error, static_cast<frcrn_error *>(nullptr)}) {
        CHECK(frcrn_model_open(nullptr, nullptr, &model, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_model_open("x", nullptr, nullptr, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_model_get_info(nullptr, &info, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_model_verify(nullptr, nullptr, nullptr, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_denoise(nullptr, &sample, &sample, 1, nullptr, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_create(nullptr, nullptr, &stream, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_create(nullptr, nullptr, nullptr, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_process(nullptr, &sample, 1, &sample, 1, &written, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_process(nullptr, &sample, 1, &sample, 1, nullptr, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_flush(nullptr, &sample, 1, &written, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_reset(nullptr, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_stream_get_stats(nullptr, &stats, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_batch_create(nullptr, 1, nullptr, &batch, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_batch_process(nullptr, &in, &n, &out, &n, &written, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_batch_flush(nullptr, 0, &sample, 1, &written, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_batch_reset(nullptr, 0, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_batch_get_stats(nullptr, 0, &stats, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_live_start(nullptr, nullptr, &live, to) == FRCRN_ARGUMENT);
        CHECK(frcrn_live_start(nullptr, nullptr, nullptr, to) == FRCRN_ARGUMENT);
    }
    CHECK(std::string(error.text) == "live is NULL");
    CHECK(frcrn_live_exchange(nullptr, &sample, &sample, 1) == FRCRN_ARGUMENT);
    CHECK(frcrn_stream_max_out(nullptr, 1) == SIZE_MAX);
    CHECK(frcrn_batch_max_out(nullptr, 1) == SIZE_MAX);
    CHECK(frcrn_stream_pending(nullptr) == 0);
    CHECK(frcrn_batch_pending(nullptr, 0) == 0);
    CHECK(frcrn_live_latency(nullptr) == 0);
    CHECK(frcrn_live_late_samples(nullptr) == 0);
    frcrn_model_free(nullptr);
    frcrn_stream_free(nullptr);
    frcrn_batch_free(nullptr);
    frcrn_live_stop(nullptr);
    CHECK(written == 0);
}

TEST_CASE("C: a model of a bundle") {
    Model own;
    frcrn_error error;
    frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
    REQUIRE(frcrn_model_get_info(own.model, &info, &error) == FRCRN_OK);
    CHECK(std::string(info.name) == "small");
    CHECK(std::string(info.licence) == "Apache-2.0");
    CHECK(std::string(info.attribution) == "Somebody");
    CHECK(std::string(info.onnxruntime) == "1.0-fake");
    CHECK(info.sample_rate == 16000);
    CHECK(info.random_weights == 0);
    CHECK(info.offline == 1);
    CHECK(info.streaming == 1);
    CHECK(info.latency == info.chunk + info.window + info.lookahead);
}

TEST_CASE("C: structs of other sizes") {
    Model own;
    frcrn_error error;
    // An earlier caller's struct is smaller, and what lies behind it is left alone.
    frcrn_model_info info;
    std::memset(&info, 0x5a, sizeof info);
    info.size = offsetof(frcrn_model_info, licence);
    CHECK(frcrn_model_get_info(own.model, &info, &error) == FRCRN_OK);
    CHECK(std::string(info.name) == "small");
    CHECK(info.size == offsetof(frcrn_model_info, licence));
    CHECK(info.sample_rate == 0x5a5a5a5a);
    for (const size_t wrong : {size_t{0}, sizeof(size_t) - 1, sizeof(frcrn_model_info) + 1, SIZE_MAX}) {
        info.size = wrong;
        CHECK(frcrn_model_get_info(own.model, &info, &error) == FRCRN_ARGUMENT);
        CHECK(has(error.text, "info->size is " + std::to_string(wrong)));
    }
    CHECK(frcrn_model_get_info(own.model, nullptr, &error) == FRCRN_ARGUMENT);

    frcrn_model_options options = fake();
    options.size = offsetof(frcrn_model_options, provider);
    options.precision = "not read";
    frcrn_model *model = nullptr;
    CHECK(frcrn_model_open(own.folder.path.c_str(), &options, &model, &error) == FRCRN_OK);
    frcrn_model_free(model);
    for (const size_t wrong : {size_t{0}, sizeof(size_t) - 1, sizeof(frcrn_model_options) + 1, SIZE_MAX}) {
        options.size = wrong;
        const Refusal refusal = opening(own.folder.path, options);
        CHECK(refusal.status == FRCRN_ARGUMENT);
        CHECK(has(refusal.text, "frcrn_model_options.size is " + std::to_string(wrong)));
    }
    frcrn_denoise_options denoise = FRCRN_DENOISE_OPTIONS_INIT;
    denoise.size = 1;
    float sample = 0;
    CHECK(frcrn_denoise(own.model, &sample, &sample, 1, &denoise, &error) == FRCRN_ARGUMENT);
    CHECK(has(error.text, "frcrn_denoise_options.size is 1"));
    frcrn_stream_options stream_options = FRCRN_STREAM_OPTIONS_INIT;
    stream_options.size = sizeof stream_options + 8;
    frcrn_stream *stream = nullptr;
    CHECK(frcrn_stream_create(own.model, &stream_options, &stream, &error) == FRCRN_ARGUMENT);
    frcrn_batch *batch = nullptr;
    CHECK(frcrn_batch_create(own.model, 1, &stream_options, &batch, &error) == FRCRN_ARGUMENT);
}

TEST_CASE("C: options out of range") {
    const Folder folder;
    const auto refusal = [&](void (*change)(frcrn_model_options &)) {
        frcrn_model_options options = fake();
        change(options);
        const Refusal found = opening(folder.path, options);
        CHECK(found.status == FRCRN_ARGUMENT);
        return found.text;
    };
    CHECK(has(refusal([](frcrn_model_options &o) { o.threads = -1; }), "threads are -1"));
    CHECK(has(refusal([](frcrn_model_options &o) { o.stream_threads = -2; }), "threads are -2"));
    CHECK(has(refusal([](frcrn_model_options &o) { o.high_pass = 2; }), "high_pass is 2"));
    CHECK(has(refusal([](frcrn_model_options &o) { o.precision = "fp64"; }), "'fp64'; there are: fp32"));
    CHECK(has(refusal([](frcrn_model_options &o) { o.provider = "CUDA"; }), "'CUDA'; there are: cpu"));
    Model own;
    frcrn_error error;
    frcrn_batch *batch = nullptr;
    for (const size_t streams : {size_t{0}, size_t{FRCRN_MAX_BATCH + 1}, SIZE_MAX})
        CHECK(frcrn_batch_create(own.model, streams, nullptr, &batch, &error) == FRCRN_ARGUMENT);
    frcrn_stream_options options = FRCRN_STREAM_OPTIONS_INIT;
    options.sample_rate = 8000;
    CHECK(frcrn_batch_create(own.model, 1, &options, &batch, &error) == FRCRN_AUDIO);
}

TEST_CASE("C: no ONNX Runtime") {
    const Folder folder;
    frcrn_model_options options = FRCRN_MODEL_OPTIONS_INIT;
    options.onnxruntime = "/nowhere/libonnxruntime.so";
    const Refusal refusal = opening(folder.path, options);
    CHECK(refusal.status == FRCRN_RUNTIME);
    CHECK(has(refusal.text, "/nowhere/libonnxruntime.so"));
    options = fake();
    options.ort_api_base = frcrn::samples::fake_runtime<16>();
    CHECK(opening(folder.path, options).status == FRCRN_RUNTIME);
}

TEST_CASE("C: bundles that are none, or altered") {
    const Folder folder;
    const auto refusal = [](const std::string &path) {
        const Refusal found = opening(path, fake());
        CHECK(found.status == FRCRN_BUNDLE);
        return found.text;
    };
    CHECK(has(refusal("/nowhere"), "/nowhere: no such folder"));
    CHECK(has(refusal(""), "no such folder"));
    CHECK(has(refusal("/tmp"), "no manifest.json"));
    CHECK(refusal(std::string(3000, 'a')).size() == FRCRN_ERROR_TEXT - 1);
    folder.write("core.onnx", "longer");
    CHECK(has(refusal(folder.path), "core.onnx: 6 bytes, the manifest says 4"));
    folder.write("core.onnx", kTest);
    ::unlink((folder.path + "/core.engine").c_str());
    CHECK(has(refusal(folder.path), "core.engine: listed in the manifest but missing"));
    CHECK(::symlink("/etc/hostname", (folder.path + "/core.engine").c_str()) == 0);
    CHECK(has(refusal(folder.path), "core.engine: a link that leaves the bundle"));
    folder.write("core.engine", kTest);
    folder.write("manifest.json", "{");
    CHECK(has(refusal(folder.path), "manifest.json: not JSON in UTF-8"));
}

TEST_CASE("C: a file is checked before it is used") {
    Model own;
    frcrn_error error;
    float sample = 0.5F;
    own.folder.write("core.onnx", "tesT");
    CHECK(frcrn_denoise(own.model, &sample, &sample, 1, nullptr, &error) == FRCRN_BUNDLE);
    CHECK(has(error.text, "core.onnx: its sha256 is not the manifest's"));
    own.folder.write("core.onnx", kTest);  // as the manifest says, and no network
    CHECK(frcrn_denoise(own.model, &sample, &sample, 1, nullptr, &error) == FRCRN_BUNDLE);
    CHECK(has(error.text, "core.onnx: not an ONNX file"));
    frcrn_stream *stream = nullptr;
    CHECK(frcrn_stream_create(own.model, nullptr, &stream, &error) == FRCRN_BUNDLE);
    CHECK(has(error.text, "streaming/core.onnx: not an ONNX file"));
    CHECK(stream == nullptr);
    CHECK(frcrn_model_verify(own.model, nullptr, nullptr, &error) == FRCRN_UNSUPPORTED);
    CHECK(sample == 0.5F);
}

TEST_CASE("C: recordings that are none") {
    Model own;
    frcrn_error error;
    float sample = 0;
    CHECK(frcrn_denoise(own.model, nullptr, &sample, 1, nullptr, &error) == FRCRN_ARGUMENT);
    CHECK(frcrn_denoise(own.model, &sample, nullptr, 1, nullptr, &error) == FRCRN_ARGUMENT);
    CHECK(frcrn_denoise(own.model, &sample, &sample, 0, nullptr, &error) == FRCRN_AUDIO);
}
