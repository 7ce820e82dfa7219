/* Which cv::Mat a block serves. A function of OpenCV that gives a matrix its memory is probed at its entry
 * (preload/contract/mats.def): the thread's next request for just that many bytes, by whatever allocator, is
 * the matrix's, and its stack is told apart by the shape. That the request was made inside of that call is
 * seen in its stack: it goes through the call's return address (userspace/capture/ebpf/sample_groups.cpp). */
#ifndef UNFREED_BPF_MATRICES_H
#define UNFREED_BPF_MATRICES_H

#include "bpf/walk_in_kernel.h"

static __always_inline uint32_t element_bytes(uint32_t type) {
    /* Bytes of 8U 8S 16U 16S 32S 32F 64F 16F, four bits each. */
    return (0x28442211 >> (type & 7) * 4 & 15) * ((type >> 3 & 0x1ff) + 1);
}

static __always_inline int32_t read_int(uint64_t address) {
    int32_t value = 0;
    bpf_probe_read_user(&value, sizeof value, (void*)address);
    return value;
}

/* Fills `now` for a matrix of these extents; gives the bytes of its elements, 0: it makes no sense. */
static __always_inline uint64_t describe(struct uf_creating* now, uint32_t type) {
    uint64_t bytes = element_bytes(type);
    now->hash = uf_mix(now->shape.caller, type);
    for (uint32_t i = 0; i < UF_BPF_DIMENSIONS && i < now->shape.dimensions; ++i) {
        const uint64_t extent = (uint32_t)now->shape.extents[i];
        if (extent == 0 || extent >> 31 || bytes >> 47) return 0;
        bytes *= extent;
        now->hash = uf_mix(now->hash, extent);
    }
    now->shape.type = type & 0xfff;
    now->hash |= 1;
    return bytes;
}

static __always_inline void expect_bytes(uint32_t slot_index, struct uf_creating* now, uint64_t bytes,
                                         uint64_t sp) {
    uint64_t thread = bpf_get_current_pid_tgid();
    const struct uf_asked request = {bytes, sp, 0, UINT64_MAX, now->hash};
    now->bytes = bytes;
    now->sp = sp;
    bpf_map_update_elem(&creating, &thread, now, BPF_ANY);
    ask_for(slot_index, &request);
}

/* cv::Mat::create, cv::UMat::create(this, dimensions, extents, type) */
static __always_inline void on_create(const struct pt_regs* regs, uint32_t slot_index) {
    struct uf_creating now = {};
    uint32_t dimensions = regs->si;
    if (dimensions < 1 || dimensions > UF_BPF_DIMENSIONS ||
        bpf_probe_read_user(now.shape.extents, dimensions * sizeof now.shape.extents[0], (void*)regs->dx) ||
        bpf_probe_read_user(&now.shape.caller, sizeof now.shape.caller, (void*)regs->sp)) {
        return;
    }
    if (dimensions == 1) now.shape.extents[1] = 1; /* OpenCV makes it a column */
    now.shape.dimensions = dimensions == 1 ? 2 : dimensions;
    const uint64_t bytes = describe(&now, regs->cx & 0xfff);
    if (bytes) expect_bytes(slot_index, &now, bytes, regs->sp);
}

/* cvCreateData(CvMat*, CvMatND* or IplImage*): opencv2/core/types_c.h */
static __always_inline void on_create_data(const struct pt_regs* regs, uint32_t slot_index) {
    enum { ALIGNMENT = 64, COUNT = 4, IMAGE_BYTES = 144 };
    struct uf_creating now = {};
    const uint64_t record = regs->di;
    const uint32_t first = read_int(record);
    uint64_t bytes = 0;
    if (bpf_probe_read_user(&now.shape.caller, sizeof now.shape.caller, (void*)regs->sp)) return;
    if (first >> 16 == 0x4242) {
        now.shape.dimensions = 2;
        now.shape.extents[0] = read_int(record + 32);
        now.shape.extents[1] = read_int(record + 36);
        if (!describe(&now, first & 0xfff)) return;
        bytes = (uint32_t)read_int(record + 4);
        if (!bytes) bytes = (uint64_t)element_bytes(first) * (uint32_t)now.shape.extents[1];
        bytes = bytes * (uint32_t)now.shape.extents[0] + COUNT + ALIGNMENT;
    } else if (first >> 16 == 0x4243) {
        now.shape.dimensions = read_int(record + 4);
        for (uint32_t i = 0; i < UF_BPF_DIMENSIONS && i < now.shape.dimensions; ++i) {
            now.shape.extents[i] = read_int(record + 32 + 8 * i);
        }
        if (now.shape.dimensions > UF_BPF_DIMENSIONS || !describe(&now, first & 0xfff)) return;
        bytes = (uint32_t)read_int(record + 36);
        if (!bytes) bytes = element_bytes(first);
        bytes = bytes * (uint32_t)now.shape.extents[0] + COUNT + ALIGNMENT;
    } else if (first == IMAGE_BYTES) {
        const uint32_t depth = read_int(record + 16), channels = read_int(record + 8);
        const int is_signed = depth >> 31, bits = depth & 0xff;
        const uint32_t type = bits == 8    ? is_signed
                              : bits == 16 ? 2 + is_signed
                              : bits == 32 ? 5 - is_signed
                              : bits == 64 ? 6
                                           : 8;
        if (type == 8 || channels < 1 || channels > 512) return;
        now.shape.dimensions = 2;
        now.shape.extents[0] = read_int(record + 44);
        now.shape.extents[1] = read_int(record + 40);
        if (!describe(&now, type | (channels - 1) << 3)) return;
        bytes = (uint32_t)read_int(record + 80);
    }
    if (bytes) expect_bytes(slot_index, &now, bytes, regs->sp);
}

/* The shape of the matrix that OpenCV's own allocator is asked for memory for; 0: none. */
static __always_inline uint64_t shape_asked_for(uint64_t bytes, uint64_t sp) {
    uint64_t thread = bpf_get_current_pid_tgid();
    const struct uf_creating* const now = bpf_map_lookup_elem(&creating, &thread);
    return now && now->bytes == bytes && sp < now->sp ? now->hash : 0;
}

/* Blocks with this stack serve the matrix whose memory was asked for. */
static __always_inline void keep_shape(uint64_t stack, uint64_t hash) {
    if (!(stack & UF_STACK_BIT) || bpf_map_lookup_elem(&shapes, &stack)) return;
    uint64_t thread = bpf_get_current_pid_tgid();
    const struct uf_creating* const now = bpf_map_lookup_elem(&creating, &thread);
    if (!now || now->hash != hash) return;
    if (bpf_map_update_elem(&shapes, &stack, &now->shape, BPF_NOEXIST)) lose(UF_BPF_LOSS_shapes_full);
}

#endif
