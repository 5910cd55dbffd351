/*
 * libfrcrn: neural speech denoisers from frcrn-export bundles, offline and in real time.
 *
 * A bundle is a folder that `frcrn-export onnx` writes (docs/bundle.md). ONNX Runtime 1.17 or later
 * runs its network; the library loads it when the first model opens, and links against nothing of it.
 *
 *     frcrn_error error;
 *     frcrn_model *model = NULL;
 *     frcrn_stream *stream = NULL;
 *     if (frcrn_model_open("wave", NULL, &model, &error)) return fail(error.text);
 *     if (frcrn_stream_create(model, NULL, &stream, &error)) return fail(error.text);
 *     size_t written, capacity = frcrn_stream_max_out(stream, n);
 *     frcrn_stream_process(stream, in, n, out, capacity, &written, &error);
 *
 * Audio is float, mono, full scale at -1 and 1. Rates are in Hz, lengths and delays in samples.
 *
 * Errors. Every function that can fail returns a status, FRCRN_OK (0) or a reason, and writes status and
 * text into the caller's `error`, which may be NULL; on success these are 0 and "". No exception, exit or abort leaves
 * the library. What a failed call would have created stays NULL; `written` is 0.
 *
 * Threads. A model is immutable: any number of threads may use it at once. A stream, a batch and a
 * live worker belong to one thread at a time, and may move between threads. A model lives until it and
 * everything made from it are gone, and a stream until its worker is, so the order of frees is free. Using an object
 * after its own free is undefined, as with `free()`; freeing NULL is allowed.
 *
 * Options and results are structs that begin with their size: `frcrn_stream_options o =
 * FRCRN_STREAM_OPTIONS_INIT;`. A later library takes an earlier caller's smaller struct. NULL options
 * are the defaults.
 *
 * Real time. `frcrn_stream_process`, `frcrn_batch_process` and `frcrn_live_exchange` neither allocate,
 * lock nor log. ONNX Runtime itself allocates while it runs a network, so an audio callback that must
 * never wait takes a live worker: `frcrn_live_exchange` then only copies.
 */
#ifndef FRCRN_H
#define FRCRN_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(FRCRN_BUILDING)
#define FRCRN_API __declspec(dllexport)
#else
#define FRCRN_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define FRCRN_API __attribute__((visibility("default")))
#else
#define FRCRN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FRCRN_VERSION_MAJOR 0
#define FRCRN_VERSION_MINOR 2
#define FRCRN_VERSION_PATCH 0

/* ------------------------------------------------------------------ errors */

typedef enum frcrn_status {
    FRCRN_OK = 0,
    FRCRN_ARGUMENT = 1,      /* NULL, a wrong struct size, a value out of range */
    FRCRN_BUNDLE = 2,        /* missing, altered, later schema, out of bounds, leads outside */
    FRCRN_UNSUPPORTED = 3,   /* the bundle has no such core, or the library no such part */
    FRCRN_RUNTIME = 4,       /* no ONNX Runtime, too old a one, no such provider */
    FRCRN_BACKEND = 5,       /* ONNX Runtime could not load or run the network */
    FRCRN_OUTPUT = 6,        /* the network gave NaN or infinity */
    FRCRN_CAPACITY = 7,      /* the output buffer is too small; nothing was consumed */
    FRCRN_STATE = 8,         /* the stream was flushed; reset it first */
    FRCRN_AUDIO = 9,         /* empty, not finite, or at a rate that is not taken */
    FRCRN_CHECK_FAILED = 10, /* a comparison of frcrn_model_verify missed its floor */
    FRCRN_MEMORY = 11,       /* out of memory */
    FRCRN_INTERNAL = 12      /* a defect of the library; please report it */
} frcrn_status;

#define FRCRN_ERROR_TEXT 1024

/* Owned by the caller; cut to its length, always terminated. */
typedef struct frcrn_error {
    frcrn_status status;
    char text[FRCRN_ERROR_TEXT];
} frcrn_error;

/* "FRCRN_CAPACITY" and so on; "unknown status" for other numbers. */
FRCRN_API const char *frcrn_status_name(frcrn_status status);

/* The version of the library that runs, "0.2.0". */
FRCRN_API const char *frcrn_version(void);

/* ------------------------------------------------------------------- model */

typedef struct frcrn_model frcrn_model;

typedef struct frcrn_model_options {
    size_t size;
    /* ONNX Runtime: a path of its library; or the OrtApiBase that the program has already, as `const
     * OrtApiBase *`. Both NULL: a copy that the process has loaded, the library that FRCRN_ONNXRUNTIME
     * names, or what the loader finds as libonnxruntime.so.1. */
    const char *onnxruntime;
    const void *ort_api_base;
    /* "cpu" (NULL), "cuda", "tensorrt", "tensorrt-rtx". The last two take prebuilt engines where the
     * bundle has one for them with its EPContext file, else the ONNX file. */
    const char *provider;
    /* "tensorrt-rtx": the library of the plugin provider. */
    const char *provider_library;
    /* "fp32", "fp16", "int8", "fp8": which file of the bundle. NULL: of engines fp16 before fp32, of ONNX
     * files fp32. */
    const char *precision;
    /* Processor threads; 0 is all processors for recordings, and 1 for streams. */
    int threads, stream_threads;
    /* The filter against DC and infrasound: -1 as the bundle says, 0 off, 1 on. */
    int high_pass;
} frcrn_model_options;

#define FRCRN_MODEL_OPTIONS_INIT {sizeof(frcrn_model_options), NULL, NULL, NULL, NULL, NULL, 0, 0, -1}

/*
 * Open a bundle. Reads and checks its manifest; each file is checked against its hash before it is
 * first used. Loads ONNX Runtime; the networks are opened by what needs them.
 */
FRCRN_API frcrn_status frcrn_model_open(const char *bundle, const frcrn_model_options *options, frcrn_model **model,
                                        frcrn_error *error);

FRCRN_API void frcrn_model_free(frcrn_model *model);

typedef struct frcrn_model_info {
    size_t size;
    const char *name;        /* texts live as long as the model */
    const char *licence;     /* of the weights, "" where not known */
    const char *attribution; /* of the weights */
    const char *onnxruntime; /* the version that was loaded */
    uint32_t sample_rate;
    int random_weights;     /* never trained: the output is not speech */
    int offline, streaming; /* what the bundle can do with this provider and precision */
    /* Of streams, in samples; 0 where there is no streaming core. Sample i of the output has come once
     * sample i + latency - 1 went in. latency = chunk + window + lookahead. */
    uint32_t chunk, window, lookahead, latency;
} frcrn_model_info;

#define FRCRN_MODEL_INFO_INIT {sizeof(frcrn_model_info), NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0}

FRCRN_API frcrn_status frcrn_model_get_info(const frcrn_model *model, frcrn_model_info *info, frcrn_error *error);

/* One comparison with the reference outputs that the bundle holds. Texts live during the call. */
typedef struct frcrn_check {
    const char *artifact; /* the file */
    const char *name;     /* "core.49-frames" */
    double snr_db, max_abs, floor_db;
    int passed;
} frcrn_check;

/* Called for each comparison; return 0 to go on, anything else to end. */
typedef int (*frcrn_check_function)(const frcrn_check *check, void *user);

/*
 * Check every file against its hash, and compare the networks, the transforms and whole streams with
 * the outputs of the PyTorch reference in the bundle. FRCRN_CHECK_FAILED where one missed its floor.
 */
FRCRN_API frcrn_status frcrn_model_verify(const frcrn_model *model, frcrn_check_function report, void *user,
                                          frcrn_error *error);

/* -------------------------------------------------------------- recordings */

typedef struct frcrn_denoise_options {
    size_t size;
    uint32_t sample_rate;        /* of the audio; 0 is the model's. Others are resampled and back. */
    int keep_level;              /* 1: leave the output at the level that the network works at */
    double attenuation_limit_db; /* the most that noise is lowered by, >= 0; negative: no limit */
} frcrn_denoise_options;

#define FRCRN_DENOISE_OPTIONS_INIT {sizeof(frcrn_denoise_options), 0, 0, -1.0}

/*
 * Denoise a recording: `in` [n] to `out` [n], which may be the same. Channels are recordings of their
 * own. Long recordings go through in windows, in bounded memory beside the two buffers.
 */
FRCRN_API frcrn_status frcrn_denoise(const frcrn_model *model, const float *in, float *out, size_t n,
                                     const frcrn_denoise_options *options, frcrn_error *error);

/* ----------------------------------------------------------------- streams */

typedef struct frcrn_stream frcrn_stream;

typedef struct frcrn_stream_options {
    size_t size;
    uint32_t sample_rate;        /* of the audio; 0 is the model's. Others are resampled and back,
                                    which adds to the delay and may allocate. */
    int keep_level;              /* as in frcrn_denoise_options */
    double attenuation_limit_db; /* as in frcrn_denoise_options */
    double gain;                 /* a fixed linear input gain; 0: the automatic level */
} frcrn_stream_options;

#define FRCRN_STREAM_OPTIONS_INIT {sizeof(frcrn_stream_options), 0, 0, -1.0, 0.0}

/* Allocates everything that the stream will need, and runs the network once on silence. */
FRCRN_API frcrn_status frcrn_stream_create(const frcrn_model *model, const frcrn_stream_options *options,
                                           frcrn_stream **stream, frcrn_error *error);

FRCRN_API void frcrn_stream_free(frcrn_stream *stream);

/* The most samples that frcrn_stream_process gives for n, 0 for 0; SIZE_MAX for NULL and for an n that no
 * memory holds. */
FRCRN_API size_t frcrn_stream_max_out(const frcrn_stream *stream, size_t n);

/* As frcrn_model_info.latency, in samples of the stream's own rate, with what resampling adds; 0 for NULL. */
FRCRN_API size_t frcrn_stream_latency(const frcrn_stream *stream);

/* Samples that went in and have not come out: what frcrn_stream_flush gives; 0 for NULL. */
FRCRN_API size_t frcrn_stream_pending(const frcrn_stream *stream);

/*
 * Denoise the next n samples, any n, also 0. Sample i of all output belongs to sample i of all input.
 *
 * `out` takes the finished samples, `*written` their number, perhaps 0; its capacity must be at least
 * frcrn_stream_max_out(stream, n). in == out is allowed. Samples that are NaN, infinite or beyond 65536
 * become 0. Where the network gives NaN or infinity, silence goes out and it begins anew; both are
 * counted. Denormals are flushed during the call, and the thread's mode is restored.
 */
FRCRN_API frcrn_status frcrn_stream_process(frcrn_stream *stream, const float *in, size_t n, float *out,
                                            size_t capacity, size_t *written, frcrn_error *error);

/* End the stream: its remaining samples, so that as many came out as went in. Then reset or free it. */
FRCRN_API frcrn_status frcrn_stream_flush(frcrn_stream *stream, float *out, size_t capacity, size_t *written,
                                          frcrn_error *error);

/* Begin a new stream; allocates nothing. */
FRCRN_API frcrn_status frcrn_stream_reset(frcrn_stream *stream, frcrn_error *error);

/* Another attenuation_limit_db while the stream runs: the next samples that come out fade to it. It stays
 * through frcrn_stream_reset. Allocates nothing. */
FRCRN_API frcrn_status frcrn_stream_set_attenuation_limit(frcrn_stream *stream, double limit_db, frcrn_error *error);

typedef struct frcrn_stream_stats {
    size_t size;
    uint64_t samples_in, samples_out;
    uint64_t replaced_samples; /* not finite or beyond 65536: became 0 */
    uint64_t calls;            /* of the network */
    uint64_t failed_calls;     /* whose output was not finite: silence, and a new beginning */
    uint64_t limited_calls;    /* whose input was clipped to what the precision holds */
    uint64_t late_calls;       /* that took longer than their samples last */
    double worst_ms, mean_ms;  /* of a call */
} frcrn_stream_stats;

#define FRCRN_STREAM_STATS_INIT {sizeof(frcrn_stream_stats), 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0}

FRCRN_API frcrn_status frcrn_stream_get_stats(const frcrn_stream *stream, frcrn_stream_stats *stats,
                                              frcrn_error *error);

/* ------------------------------------------------------- streams in batches */

typedef struct frcrn_batch frcrn_batch;

#define FRCRN_MAX_BATCH 256

/*
 * `streams` streams, numbered from 0, through one network: those with enough samples run together. All are
 * at the model's rate: `sample_rate` of the options is that, or 0.
 */
FRCRN_API frcrn_status frcrn_batch_create(const frcrn_model *model, size_t streams, const frcrn_stream_options *options,
                                          frcrn_batch **batch, frcrn_error *error);

FRCRN_API void frcrn_batch_free(frcrn_batch *batch);

/* As of streams; of one stream of the batch. */
FRCRN_API size_t frcrn_batch_max_out(const frcrn_batch *batch, size_t n);
FRCRN_API size_t frcrn_batch_pending(const frcrn_batch *batch, size_t stream);

/*
 * The next samples of all streams: arrays of `streams` elements each. A stream without new samples has
 * n[i] = 0. Give all blocks that have arrived in one call, on a common clock.
 */
FRCRN_API frcrn_status frcrn_batch_process(frcrn_batch *batch, const float *const *in, const size_t *n,
                                           float *const *out, const size_t *capacity, size_t *written,
                                           frcrn_error *error);

/* As of streams; of one stream of the batch, while the others go on. */
FRCRN_API frcrn_status frcrn_batch_flush(frcrn_batch *batch, size_t stream, float *out, size_t capacity,
                                         size_t *written, frcrn_error *error);
FRCRN_API frcrn_status frcrn_batch_reset(frcrn_batch *batch, size_t stream, frcrn_error *error);
FRCRN_API frcrn_status frcrn_batch_get_stats(const frcrn_batch *batch, size_t stream, frcrn_stream_stats *stats,
                                             frcrn_error *error);

/* ---------------------------------------------------------- audio callbacks */

typedef struct frcrn_live frcrn_live;

typedef struct frcrn_live_options {
    size_t size;
    size_t max_block; /* the largest n of frcrn_live_exchange; 0 is 1024 */
    size_t margin;    /* samples of delay beside the stream's and max_block; more bear a slower worker */
} frcrn_live_options;

#define FRCRN_LIVE_OPTIONS_INIT {sizeof(frcrn_live_options), 0, 0}

/*
 * Start a worker thread that runs the stream, which belongs to the worker until it is stopped: other calls
 * with it give FRCRN_STATE until then.
 */
FRCRN_API frcrn_status frcrn_live_start(frcrn_stream *stream, const frcrn_live_options *options, frcrn_live **live,
                                        frcrn_error *error);

/* Stop the worker and free it; the stream belongs to the caller again, reset. */
FRCRN_API void frcrn_live_stop(frcrn_live *live);

/* The constant delay between input and output, in samples; 0 for NULL. */
FRCRN_API size_t frcrn_live_latency(const frcrn_live *live);

/*
 * Give n samples and take n, `frcrn_live_latency` later; for one audio callback. in == out is allowed.
 * Where the worker is late, silence comes instead, is counted, and what is late is dropped, so that the
 * delay stays. Waits for nothing: it copies. FRCRN_ARGUMENT, and silence in `out`, for more than max_block.
 */
FRCRN_API frcrn_status frcrn_live_exchange(frcrn_live *live, const float *in, float *out, size_t n);

/*
 * The same, but waits for the worker where it is late, so that every sample comes: for hosts that send
 * recordings through their audio callback, faster than real time.
 */
FRCRN_API frcrn_status frcrn_live_exchange_blocking(frcrn_live *live, const float *in, float *out, size_t n);

/* As frcrn_stream_set_attenuation_limit; from any thread, waits for nothing. */
FRCRN_API frcrn_status frcrn_live_set_attenuation_limit(frcrn_live *live, double limit_db);

/* Samples of silence that went out because the worker was late; from any thread. */
FRCRN_API uint64_t frcrn_live_late_samples(const frcrn_live *live);

#ifdef __cplusplus
}
#endif

#endif
