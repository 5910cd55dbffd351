// Say what a bundle is: describe BUNDLE. The handles of libfrcrn in C++: unique_ptr with its functions.
#include <frcrn.h>

#include <iostream>
#include <memory>

int main(int count, char **words) {
    frcrn_error error;
    frcrn_model *opened = nullptr;
    if (count != 2 || frcrn_model_open(words[1], nullptr, &opened, &error) != FRCRN_OK) {
        std::cerr << (count != 2 ? "usage: describe BUNDLE" : error.text) << '\n';
        return 2;
    }
    const std::unique_ptr<frcrn_model, decltype(&frcrn_model_free)> model(opened, frcrn_model_free);
    frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
    if (frcrn_model_get_info(model.get(), &info, &error) != FRCRN_OK) return 1;
    std::cout << info.name << ": " << info.sample_rate << " Hz, " << (info.offline ? "recordings" : "no recordings")
              << ", " << (info.streaming ? "streams" : "no streams") << "; libfrcrn " << frcrn_version()
              << ", ONNX Runtime " << info.onnxruntime << '\n';
    return 0;
}
