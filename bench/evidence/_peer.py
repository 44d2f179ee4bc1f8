# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One engine, one format, one process: prints tokens per second of each test as JSON. Runs in the peers' environment.

    python _peer.py ENGINE MODEL_PATH THREADS N_GEN N_PROMPT BATCHES VOCAB

`tg N` decodes N tokens greedily after a prompt of one token, in B sequences at once; `pp N` runs a prompt of N tokens
and gives one token. Both are wall time from the first call to the last token, as ee-run bench measures. One untimed
round of each test comes first, with other prompts: an engine may keep the KV of a prompt it has seen.
"""

import json
import os
import random
import resource
import sys
import time


def prompt(length, vocab, seed):
    rng = random.Random(seed)
    return [rng.randrange(3, vocab - 1) for _ in range(length)]


def llama(path, threads, vocab):
    import ctypes

    import llama_cpp as L

    # The callback must live as long as the library may log.
    llama.quiet = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(llama.quiet, ctypes.c_void_p(0))
    return llama_api(L, L.llama_model_default_params(), path, threads, vocab)


def ik_llama(path, threads, vocab):
    """The fork has llama.cpp's entry points; its matrices are rearranged for the machine while they are loaded."""
    import ik_llama_cpp._ctypes_api as L

    options = L.llama_model_default_params()
    # Rearranged tensors live in memory of their own, so that a mapped file would be kept for nothing.
    options.repack_tensors, options.use_mmap = True, False
    return llama_api(L, options, path, threads, vocab)


def llama_api(L, options, path, threads, vocab):
    import numpy as np

    L.llama_backend_init()
    model = L.llama_model_load_from_file(path.encode(), options)
    if not model:
        raise SystemExit(f"error: cannot load {path}")

    def run(batch, length, count, seed):
        p = L.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = batch * (length + count + 8), 2048, 512, batch
        p.n_threads = p.n_threads_batch = threads
        if hasattr(p, "no_perf"):
            p.no_perf = True
        if hasattr(p, "kv_unified"):
            p.kv_unified = True
        context, rows = L.llama_init_from_model(model, p), L.llama_batch_init(2048, 0, 1)

        def step(items):
            rows.n_tokens = len(items)
            for i, (token, position, sequence, wanted) in enumerate(items):
                rows.token[i], rows.pos[i], rows.n_seq_id[i], rows.logits[i] = token, position, 1, wanted
                rows.seq_id[i][0] = sequence
            if L.llama_decode(context, rows):
                raise SystemExit("error: llama_decode failed")

        prompts = [prompt(length, vocab, seed + s) for s in range(batch)]
        begin = time.monotonic()
        step([(t, i, s, i == length - 1) for s, ids in enumerate(prompts) for i, t in enumerate(ids)])
        at = [(s + 1) * length - 1 for s in range(batch)]
        for i in range(count):
            best = [int(np.ctypeslib.as_array(L.llama_get_logits_ith(context, a), (vocab,)).argmax()) for a in at]
            if i + 1 < count:
                step([(best[s], length + i, s, 1) for s in range(batch)])
                at = range(batch)
        seconds = time.monotonic() - begin
        L.llama_batch_free(rows)
        L.llama_free(context)
        return seconds

    return run


def onnxruntime(path, threads, vocab):
    import numpy as np
    import onnxruntime_genai as og

    config = og.Config(path)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads, "inter_op_num_threads": 1}}}}))
    model = og.Model(config)

    def run(batch, length, count, seed):
        options = og.GeneratorParams(model)
        options.set_search_options(max_length=length + count + 1, min_length=length + count + 1, batch_size=batch, do_sample=False)
        generator, ids = og.Generator(model, options), np.array([prompt(length, vocab, seed + s) for s in range(batch)], np.int32)
        begin = time.monotonic()
        generator.append_tokens(ids if batch > 1 else ids[0])
        for _ in range(count):
            generator.generate_next_token()
        return time.monotonic() - begin

    return run


def openvino(path, threads, vocab):
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    pipe = genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)

    def run(batch, length, count, seed):
        ids = np.array([prompt(length, vocab, seed + s) for s in range(batch)], np.int64)
        config = genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = count
        config.do_sample, config.ignore_eos, config.apply_chat_template = False, True, False
        begin = time.monotonic()
        pipe.generate(genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids))), config)
        return time.monotonic() - begin

    return run


def main(engine, path, threads, count, length, batches, vocab):
    count, length, vocab = int(count), int(length), int(vocab)
    run = {"llama.cpp": llama, "ik_llama.cpp": ik_llama, "onnxruntime": onnxruntime, "openvino": openvino}[engine](path, int(threads), vocab)
    run(1, length, 1, 1000)
    result = {f"pp{length} b1": length / run(1, length, 1, 0)}
    for batch in map(int, batches.split(",")):
        run(batch, 1, 4, 1000)
        result[f"tg{count} b{batch}"] = batch * count / run(batch, 1, count, 0)
    print(json.dumps({"rates": result, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
    os._exit(0)  # some engines crash while they shut down


if __name__ == "__main__":
    main(*sys.argv[1:])
