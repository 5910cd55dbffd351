/* Denoise raw float samples from standard input to standard output: denoise BUNDLE < IN > OUT */
#include <frcrn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    frcrn_error error;
    frcrn_model *model = NULL;
    frcrn_stream *stream = NULL;
    float in[1024], out[8192];
    size_t n, written;

    if (argc < 2 || frcrn_model_open(argv[1], NULL, &model, &error) ||
        frcrn_stream_create(model, NULL, &stream, &error)) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: denoise BUNDLE < IN > OUT" : error.text);
        return 2;
    }
    while ((n = fread(in, sizeof *in, 1024, stdin)) > 0) {
        if (frcrn_stream_process(stream, in, n, out, 8192, &written, &error)) break;
        fwrite(out, sizeof *out, written, stdout);
    }
    if (!error.status && !frcrn_stream_flush(stream, out, 8192, &written, &error))
        fwrite(out, sizeof *out, written, stdout);
    if (error.status) fprintf(stderr, "%s\n", error.text);
    frcrn_stream_free(stream);
    frcrn_model_free(model);
    return error.status ? 1 : 0;
}
