#include "bundle.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace plugin {
namespace {

std::string variable(const char *name, const std::string &otherwise) {
    const char *value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : otherwise;
}

}  // namespace

std::string find_bundle() {
    if (const std::string named = variable("FRCRN_BUNDLE", ""); !named.empty()) return named;
    const std::string home = variable("HOME", "");
    std::istringstream folders(variable("XDG_DATA_HOME", home + "/.local/share") + ":" +
                               variable("XDG_DATA_DIRS", "/usr/local/share:/usr/share"));
    for (std::string folder; std::getline(folders, folder, ':');) {
        const std::string bundle = folder + "/frcrn/default";
        std::error_code none;
        if (folder[0] == '/' && std::filesystem::exists(bundle + "/manifest.json", none)) return bundle;
    }
    return "";
}

}  // namespace plugin
