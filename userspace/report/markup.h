// Text inside SVG and HTML.
#pragma once
#include <string>
#include <string_view>

#include "userspace/report/format.h"

namespace unfreed {

// As content or in a quoted attribute; everything that an XML reader would stop at is gone (printable()).
inline std::string escaped(std::string_view text) {
    std::string markup;
    for (const char c : printable(text)) {
        switch (c) {
            case '&':
                markup += "&amp;";
                break;
            case '<':
                markup += "&lt;";
                break;
            case '>':
                markup += "&gt;";
                break;
            case '"':
                markup += "&quot;";
                break;
            case '\'':
                markup += "&#39;";
                break;
            default:
                markup += c;
        }
    }
    return markup;
}

// "4.0 MiB in 17 blocks not freed", "... allocated", "... more than before".
std::string amount_text(const CallTree& tree, bool difference);

}  // namespace unfreed
