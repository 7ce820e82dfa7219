// opencv_mats: keeps matrices of OpenCV of known shapes, each kind from a site of its own
// (tests/e2e/test_mats.py knows them), and blocks beside them that are none. Without an argument it ends
// then; with one it first waits for a line on standard input, and after it makes the matrices it writes that
// file.
#include <opencv2/core/core_c.h>

#include <opencv2/core.hpp>

#include "tests/programs/books.h"

BOOKS_FUNCTION void site_two_shapes(int rows, int columns, int type) {
    new cv::Mat(rows, columns, type);
}

BOOKS_FUNCTION void site_volume() {
    const int extents[] = {3, 24, 32};
    new cv::Mat(3, extents, CV_64FC1);
}

BOOKS_FUNCTION void site_shared() {
    new cv::UMat(30, 40, CV_16SC2);
}

// Rows are padded to 4 bytes.
BOOKS_FUNCTION void site_image() {
    cvCreateImage(cvSize(65, 48), IPL_DEPTH_8U, 3);
}

BOOKS_FUNCTION void site_old_matrix() {
    cvCreateMat(5, 7, CV_32FC2);
}

BOOKS_FUNCTION void site_old_volume() {
    const int extents[] = {2, 3, 4};
    cvCreateMatND(3, extents, CV_32SC1);
}

// No matrix: a memory storage.
BOOKS_FUNCTION void site_storage() {
    cvMemStorageAlloc(cvCreateMemStorage(0), 100);
}

// A matrix in memory that is not OpenCV's: create() has nothing to do.
BOOKS_FUNCTION void site_own_memory() {
    auto* mat = new cv::Mat(10, 10, CV_8UC1, malloc(100));
    mat->create(10, 10, CV_8UC1);
}

// The same size as the matrix that create() had nothing to do for just now.
BOOKS_FUNCTION void site_no_matrix(cv::Mat* mat) {
    mat->create(20, 30, CV_8UC1);
    cv::fastMalloc(600);
}

// OpenCV throws, through unfreed's own frame.
BOOKS_FUNCTION bool site_refused() {
    try {
        new cv::Mat(1 << 30, 1 << 30, CV_8UC1);
    } catch (const cv::Exception&) {
        return true;
    }
    return false;
}

int main(int, char** argv) {
    if (argv[1] && getchar() == EOF) return 1;
    for (int i = 0; i < 5; ++i) site_two_shapes(i < 3 ? 48 : 100, 64, i < 3 ? CV_8UC3 : CV_32FC1);
    site_volume();
    site_shared();
    site_image();
    site_old_matrix();
    site_old_volume();
    site_storage();
    site_own_memory();
    site_no_matrix(new cv::Mat(20, 30, CV_8UC1));
    if (!site_refused()) return 2;
    if (argv[1]) {
        books::write_file(argv[1]);
        getchar();
    }
    return 0;
}
