// frcrn verify: the bundle against the outputs of the reference that it holds.
#include <algorithm>
#include <cstdio>

#include "commands.h"
#include "json.h"
#include "model.h"

namespace tool {
namespace {

Options options() { return model_options() + Options{{"json", 0, nullptr, "Print the results as JSON."}}; }

struct Row {
    std::string artifact, name;
    double snr_db, max_abs, floor_db;
    bool passed;
};

std::vector<Row> compare(const Model &model, frcrn_error &error) {
    std::vector<Row> rows;
    const auto keep = [](const frcrn_check *check, void *user) {
        static_cast<std::vector<Row> *>(user)->push_back(
            {check->artifact, check->name, check->snr_db, check->max_abs, check->floor_db, check->passed != 0});
        return 0;
    };
    frcrn_model_verify(model.get(), keep, &rows, &error);
    return rows;
}

void print_table(const std::vector<Row> &rows) {
    int artifact = 4, name = 4;
    for (const Row &row : rows) {
        artifact = std::max(artifact, static_cast<int>(row.artifact.size()));
        name = std::max(name, static_cast<int>(row.name.size()));
    }
    std::printf("%-*s  %-*s  %7s  %5s  %8s  %s\n", artifact, "File", name, "Case", "SNR dB", "Floor", "Max abs", "OK");
    for (const Row &row : rows)
        std::printf("%-*s  %-*s  %7.1f  %5.0f  %8.1e  %s\n", artifact, printable(row.artifact).c_str(), name,
                    printable(row.name).c_str(), row.snr_db, row.floor_db, row.max_abs, row.passed ? "yes" : "NO");
}

void print_json(const char *model, const std::vector<Row> &rows) {
    std::vector<std::string> parity;
    for (const Row &row : rows) {
        JsonObject one;
        one.add("artifact", json_text(row.artifact)).add("case", json_text(row.name)).add("snr_db", row.snr_db);
        one.add("max_abs", row.max_abs).add("floor_db", row.floor_db).add("passed", json_flag(row.passed));
        parity.push_back(one.text());
    }
    JsonObject result;
    result.add("model", json_text(model)).add("parity", json_list(parity));
    std::printf("%s\n", result.text().c_str());
}

int run(const Words &words) {
    const Arguments arguments("verify", {"BUNDLE"}, options(), words);
    const Model model = open_model(arguments);
    frcrn_error error;
    const std::vector<Row> rows = compare(model, error);
    if (error.status != FRCRN_CHECK_FAILED) check(error);
    if (arguments.has("json"))
        print_json(info_of(model).name, rows);
    else
        print_table(rows);
    check(error);
    return 0;
}

}  // namespace

extern const Command kVerify = {
    "verify", "BUNDLE", "Compare a bundle with the outputs of the PyTorch reference; exit code 1 below a floor.", run,
    [] { return help_of(options()); }};

}  // namespace tool
