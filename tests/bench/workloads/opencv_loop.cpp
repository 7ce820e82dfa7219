// Frames through a usual chain of image operations: opencv_loop FRAMES. One thread, so that runs compare.
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "tests/bench/workloads/loop.h"

namespace {

cv::Mat make_frame(std::uint64_t turn) {
    cv::Mat frame(480, 640, CV_8UC3);
    for (int y = 0; y < frame.rows; ++y)
        for (int x = 0; x < frame.cols; ++x)
            frame.at<cv::Vec3b>(y, x) =
                cv::Vec3b(static_cast<unsigned char>(x + turn), static_cast<unsigned char>(y),
                          static_cast<unsigned char>((x * y) >> 6));
    return frame;
}

std::size_t process(const cv::Mat& frame) {
    cv::Mat grey, blurred, edges, half;
    cv::cvtColor(frame, grey, cv::COLOR_BGR2GRAY);
    cv::GaussianBlur(grey, blurred, {5, 5}, 1.5);
    cv::resize(blurred, half, {}, 0.5, 0.5, cv::INTER_AREA);
    cv::Canny(half, edges, 40, 120);
    std::vector<std::vector<cv::Point>> contours;
    cv::findContours(edges, contours, cv::RETR_LIST, cv::CHAIN_APPROX_SIMPLE);
    return contours.size();
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t frames = bench::number(argc, argv, 1, 100);
    cv::setNumThreads(1);
    bench::Kept kept;
    for (int i = 0; i < 100; ++i) bench_keep(100, kept);

    std::size_t contours = 0;
    const std::int64_t start = bench::now_ns();
    for (std::uint64_t turn = 0; turn < frames; ++turn) contours += process(make_frame(turn));
    bench::print_result(frames, bench::now_ns() - start, kept);
    return contours == 0;
}
