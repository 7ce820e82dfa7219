// Hooks of OpenCV's functions that give a matrix its memory (contract/mats.def): once the real one is done,
// the block that it got is told what it is for. The block itself was recorded by the hook of the allocation
// function: OpenCV's own, or another one that OpenCV was given (numpy's).
//
// Records of OpenCV 4 (opencv2/core: mat.hpp, types_c.h); of another version nothing is read.
#include <cstring>

#include "preload/late.h"
#include "preload/mat_shape.h"
#include "preload/record.h"
#include "preload/visibility.h"

using namespace unfreed::preload;

namespace {

// The fields that are read of cv::Mat, cv::UMat, cv::UMatData, CvMat, CvMatND and IplImage.
struct Mat {
    int flags, dimensions, rows, columns;
    const void* data;
    const void *start, *end, *limit, *allocator, *shared;
    const int* extents;
};
struct UMat {
    int flags, dimensions, rows, columns;
    const void* allocator;
    int usage;
    const struct UMatData* shared;
    size_t offset;
    const int* extents;
};
struct UMatData {
    const void *previous, *current;
    int references[2];
    const void *data, *block;
};
struct CvMat {
    int type, step;
    const void* block;
    int header_references;
    const void* data;
    int rows, columns;
};
struct CvMatND {
    int type, dimensions;
    const void* block;
    int header_references;
    const void* data;
    struct {
        int extent, step;
    } dimension[UF_DIMENSIONS_MAX];
};
struct IplImage {
    int bytes, id, channels, alpha, depth;
    char names[8];
    int order, origin, align, columns, rows;
    const void *region, *mask, *name, *tiles;
    int image_bytes;
    const void* data;
    int row_bytes, border[8];
    const void* block;
};
static_assert(sizeof(IplImage) == 144 && offsetof(IplImage, block) == 136, "types_c.h");
static_assert(offsetof(Mat, extents) == 64 && offsetof(UMat, extents) == 48, "mat.hpp");
static_assert(offsetof(UMatData, block) == 32 && offsetof(CvMatND, dimension) == 32, "mat.hpp, types_c.h");

constexpr uint32_t kTypeMask = 0xfff;
constexpr uint64_t kCountAndAlignment = sizeof(int) + 64;  // what cvCreateData asks for beside the elements

Late<int()> real_version{"_ZN2cv15getVersionMajorEv", nullptr};

bool is_known_version(uint64_t caller) {
    auto* version = real_version.get(caller);
    return version && version() == 4;
}

uint64_t element_bytes(uint32_t type) {
    constexpr uint8_t kDepths[] = {1, 1, 2, 2, 4, 4, 8, 2};  // 8U 8S 16U 16S 32S 32F 64F 16F
    return uint64_t{kDepths[type & 7]} * ((type >> 3) + 1);
}

void note(const void* block, uint64_t bytes, const MatShape& shape, uint64_t caller) {
    Table* table = block ? open_table() : nullptr;
    if (!table || !__atomic_load_n(&table->header()->recording, __ATOMIC_RELAXED)) return;
    Thread* thread = enter_thread(table);
    if (!thread) return;
    Reshaped reshaped = reshape_block(table, address_of(block), bytes, shape, caller);
    if (reshaped.before != reshaped.after) {
        uint64_t mean = table->header()->sample_bytes;
        uint64_t objects = mean == 0 ? 1 : objects_of_sample(bytes, mean);
        uint64_t counted = mean == 0 ? bytes : bytes_of_sample(objects, bytes);
        count(thread, reshaped.before, 0 - objects, 0 - counted);
        count(thread, reshaped.after, objects, counted);
    }
    leave_thread(thread);
}

// As many bytes as the elements take: what every allocator is asked for.
void note_elements(const void* block, int flags, int dimensions, const int* extents, uint64_t caller) {
    if (!block || dimensions <= 0 || static_cast<uint32_t>(dimensions) > UF_DIMENSIONS_MAX) return;
    MatShape shape{static_cast<uint32_t>(flags) & kTypeMask, static_cast<uint32_t>(dimensions), extents};
    uint64_t bytes = element_bytes(shape.type);
    for (int i = 0; i < dimensions; i++)
        if (extents[i] <= 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(extents[i]), &bytes))
            return;
    note(block, bytes, shape, caller);
}

void note_old_record(const void* record, uint64_t caller) {
    if (!record) return;
    int first;
    memcpy(&first, record, sizeof first);
    auto magic = static_cast<uint32_t>(first) & 0xffff0000;
    auto type = static_cast<uint32_t>(first) & kTypeMask;
    if (magic == 0x42420000) {
        const auto* mat = static_cast<const CvMat*>(record);
        int extents[] = {mat->rows, mat->columns};
        uint64_t row = mat->step != 0 ? static_cast<uint64_t>(mat->step)
                                      : element_bytes(type) * static_cast<uint64_t>(mat->columns);
        note(mat->block, row * static_cast<uint64_t>(mat->rows) + kCountAndAlignment, {type, 2, extents},
             caller);
    } else if (magic == 0x42430000) {
        const auto* mat = static_cast<const CvMatND*>(record);
        if (mat->dimensions <= 0 || static_cast<uint32_t>(mat->dimensions) > UF_DIMENSIONS_MAX) return;
        int extents[UF_DIMENSIONS_MAX];
        for (int i = 0; i < mat->dimensions; i++) extents[i] = mat->dimension[i].extent;
        uint64_t row =
            mat->dimension[0].step != 0 ? static_cast<uint64_t>(mat->dimension[0].step) : element_bytes(type);
        note(mat->block, row * static_cast<uint64_t>(extents[0]) + kCountAndAlignment,
             {type, static_cast<uint32_t>(mat->dimensions), extents}, caller);
    } else if (first == static_cast<int>(sizeof(IplImage))) {
        const auto* image = static_cast<const IplImage*>(record);
        constexpr int kDepths[] = {8, INT32_MIN | 8, 16, INT32_MIN | 16, INT32_MIN | 32, 32, 64};
        for (uint32_t depth = 0; depth < sizeof kDepths / sizeof kDepths[0]; depth++) {
            if (kDepths[depth] != image->depth || image->channels < 1) continue;
            int extents[] = {image->rows, image->columns};
            type = (depth | static_cast<uint32_t>(image->channels - 1) << 3) & kTypeMask;
            note(image->block, static_cast<uint64_t>(image->image_bytes), {type, 2, extents}, caller);
        }
    }
}

Late<void(Mat*, int, const int*, int)> real_mat_create{"_ZN2cv3Mat6createEiPKii", nullptr};
Late<void(UMat*, int, const int*, int, int)> real_umat_create{"_ZN2cv4UMat6createEiPKiiNS_14UMatUsageFlagsE",
                                                              nullptr};
Late<void(void*)> real_create_data{"cvCreateData", nullptr};

}

#define UF_CALLER reinterpret_cast<uint64_t>(__builtin_return_address(0))

UF_HOOK void uf_mat_create(Mat*, int, const int*, int) asm("_ZN2cv3Mat6createEiPKii");
void uf_mat_create(Mat* mat, int dimensions, const int* extents, int type) {
    real_mat_create.get(UF_CALLER)(mat, dimensions, extents, type);
    if (is_known_version(UF_CALLER))
        note_elements(mat->data, mat->flags, mat->dimensions, mat->extents, UF_CALLER);
}

UF_HOOK void uf_umat_create(UMat*, int, const int*, int,
                            int) asm("_ZN2cv4UMat6createEiPKiiNS_14UMatUsageFlagsE");
void uf_umat_create(UMat* mat, int dimensions, const int* extents, int type, int usage) {
    real_umat_create.get(UF_CALLER)(mat, dimensions, extents, type, usage);
    if (is_known_version(UF_CALLER) && mat->shared)
        note_elements(mat->shared->block, mat->flags, mat->dimensions, mat->extents, UF_CALLER);
}

UF_HOOK void cvCreateData(void* record) {
    real_create_data.get(UF_CALLER)(record);
    if (is_known_version(UF_CALLER)) note_old_record(record, UF_CALLER);
}
