// The shape of a matrix of OpenCV, in OpenCV's own words: "480x640 CV_32FC1".
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace unfreed {

// `type`: depth in the lowest three bits, channels - 1 above (opencv2/core/hal/interface.h, OpenCV 4).
// `extents`: elements of each dimension, rows first.
inline std::string mat_shape_text(std::uint32_t type, std::span<const std::uint32_t> extents) {
    constexpr std::array kDepths{"8U", "8S", "16U", "16S", "32S", "32F", "64F", "16F"};
    std::string text;
    for (const std::uint32_t extent : extents) text += (text.empty() ? "" : "x") + std::to_string(extent);
    return text + " CV_" + kDepths[type & 7] + "C" + std::to_string((type >> 3 & 0x1ff) + 1);
}

}  // namespace unfreed
