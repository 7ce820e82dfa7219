// opencv_loop BOOKS: filters images in a loop, leaks a known number of them in site_leaked_image, and calls
// OpenCV's allocator itself in site_fast_malloc. Prints a checksum of the pixels. With a second argument it
// waits for its input to end.
#include <cstring>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "tests/programs/books.h"

BOOKS_SITE(leaked_image, "cv::fastMalloc(unsigned long)", "opencv");
BOOKS_FUNCTION void site_leaked_image(cv::Mat* image) {
    image->create(48, 64, CV_8UC3);
    std::memset(image->data, 7, 48 * 64 * 3);  // resident
    books::got(page_leaked_image, image->data, 48 * 64 * 3);
}
BOOKS_SITE(fast_malloc, "cv::fastMalloc(unsigned long)", "opencv");
BOOKS_FUNCTION void* site_fast_malloc(std::size_t bytes) {
    return books::got(page_fast_malloc, cv::fastMalloc(bytes), bytes).address;
}

int main(int argc, char** argv) {
    cv::setNumThreads(0);
    double sum = 0;
    for (int i = 0; i < 30; ++i) {
        cv::Mat image(240, 320, CV_8UC3, cv::Scalar(i, 2 * i, 3 * i)), blurred, edges;
        cv::circle(image, {160, 120}, 40 + i, {255, 255, 255}, 3);
        cv::GaussianBlur(image, blurred, {7, 7}, 1.5);
        cv::Canny(blurred, edges, 50, 100);
        sum += cv::sum(edges)[0] + cv::sum(blurred)[1];
        if (i % 4 == 0) site_leaked_image(new cv::Mat);
        void* p = std::memset(site_fast_malloc(1000), 7, 1000);
        if (i % 3 == 0) continue;
        cv::fastFree(p);
        books::gave(page_fast_malloc, 1, 1000);
    }
    printf("%.0f\n", sum);
    books::write_file(argv[1]);
    fflush(stdout);
    if (argc > 2) getchar();
    return 0;
}
