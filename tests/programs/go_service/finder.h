// What the Go side calls, as gocv does it: a C interface around OpenCV, objects as handles. Functions
// site_NAME have a page in the books (tests/programs/books.h).
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef void* Mat;

Mat Mat_Gray(int rows, int columns, int seed);
void Mat_Close(Mat mat);
size_t Mat_Bytes(Mat mat);

// Where `part` fits into `whole`: the result of cv::matchTemplate, for the caller to close.
Mat site_match(Mat whole, Mat part);
Mat site_held_by_finalizer(int rows, int columns);

// Calls Go's goVisit(handle, depth), then leaks a block itself.
void site_after_callback(uintptr_t handle, int depth);

void* site_in_callback(size_t bytes);
void* site_in_init(size_t bytes);
void* site_locked_thread(size_t bytes);
void* site_deep_stack(size_t bytes);

void books_of_service(const char* path);

#ifdef __cplusplus
}
#endif
