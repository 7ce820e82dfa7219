#include "finder.h"

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "tests/programs/books.h"

// From Go: //export goVisit
extern "C" void goVisit(uintptr_t handle, int depth);

#define SERVICE_SITE(name)                                            \
    BOOKS_SITE(name, "malloc", "malloc");                             \
    BOOKS_FUNCTION void* site_##name(size_t bytes) {                  \
        return books::got(page_##name, malloc(bytes), bytes).address; \
    }

SERVICE_SITE(in_callback)
SERVICE_SITE(in_init)
SERVICE_SITE(locked_thread)
SERVICE_SITE(deep_stack)

// Before main and before Go's runtime: the main thread, on its own stack.
BOOKS_SITE(before_runtime, "malloc", "malloc");
BOOKS_FUNCTION void* site_before_runtime() {
    return books::got(page_before_runtime, malloc(700), 700).address;
}
__attribute__((constructor)) static void before_runtime() {
    (void)site_before_runtime();
}

extern "C" Mat Mat_Gray(int rows, int columns, int seed) {
    auto* mat = new cv::Mat(rows, columns, CV_8UC1);
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < columns; ++x)
            mat->at<unsigned char>(y, x) = static_cast<unsigned char>(x * y + seed * x);
    return mat;
}

BOOKS_SITE(match, "cv::fastMalloc(unsigned long)", "opencv");
BOOKS_FUNCTION Mat site_match(Mat whole, Mat part) {
    auto* result = new cv::Mat;
    cv::matchTemplate(*static_cast<cv::Mat*>(whole), *static_cast<cv::Mat*>(part), *result, cv::TM_SQDIFF);
    books::got(page_match, result->data, result->total() * result->elemSize());
    return result;
}

extern "C" void Mat_Close(Mat mat) {
    auto* closed = static_cast<cv::Mat*>(mat);
    if (closed->type() == CV_32FC1) books::gave(page_match, 1, static_cast<long long>(Mat_Bytes(mat)));
    delete closed;
}

extern "C" size_t Mat_Bytes(Mat mat) {
    auto* of = static_cast<cv::Mat*>(mat);
    return of->total() * of->elemSize();
}

BOOKS_SITE(held_by_finalizer, "cv::fastMalloc(unsigned long)", "opencv");
BOOKS_FUNCTION Mat site_held_by_finalizer(int rows, int columns) {
    auto* mat = new cv::Mat(rows, columns, CV_16UC1);
    books::got(page_held_by_finalizer, mat->data, Mat_Bytes(mat));
    return mat;
}

BOOKS_SITE(after_callback, "malloc", "malloc");
BOOKS_FUNCTION void site_after_callback(uintptr_t handle, int depth) {
    goVisit(handle, depth);
    (void)books::got(page_after_callback, malloc(300), 300);
}

extern "C" void books_of_service(const char* path) {
    books::write_file(path);
}
__attribute__((constructor)) static void one_thread() {
    cv::setNumThreads(0);
}
