#include "userspace/report/short_name.h"

#include <algorithm>
#include <array>
#include <vector>

namespace unfreed {
namespace {

constexpr int kDeepest =
    8;  // lists within lists that are looked into; what is deeper would be too wide anyway
constexpr std::size_t kNone = std::string_view::npos;

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

// Past "operator" and the characters that it is made of, when such a name stands at `at`; else `at`.
std::size_t past_operator(std::string_view text, std::size_t at) {
    constexpr std::string_view kOperator = "operator";
    if (text[at] != 'o' || !text.substr(at).starts_with(kOperator) || (at > 0 && is_word(text[at - 1]))) {
        return at;
    }
    const std::size_t end = at + kOperator.size();
    if (text.substr(end).starts_with("()") || text.substr(end).starts_with("[]")) {
        return end + 2;
    }
    // operator new, operator unsigned long; else operator<, operator->
    const bool is_word_too = text.substr(end).starts_with(" ");
    return std::min(
        is_word_too ? text.find_first_of("(<", end) : text.find_first_not_of("<>=-+*/%^&|~!,", end),
        text.size());
}

// Of each bracket that opens: where the one that closes it stands. Comparisons within parentheses and the
// arrows of Rust and C++ are no brackets.
std::vector<std::size_t> match_brackets(std::string_view text) {
    std::vector<std::size_t> closing(text.size(), kNone);
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (const std::size_t end = past_operator(text, i); end != i) {
            i = end - 1;
            continue;
        }
        const char c = text[i];
        if (c == '<' || c == '(' || c == '{') {
            open.push_back(i);
        } else if (c == '>') {
            if (!open.empty() && text[open.back()] == '<' && text[i - 1] != '-') {
                closing[open.back()] = i;
                open.pop_back();
            }
        } else if (c == ')' || c == '}') {
            while (!open.empty() && text[open.back()] == '<') {
                open.pop_back();  // a comparison
            }
            if (!open.empty() && text[open.back()] == (c == ')' ? '(' : '{')) {
                closing[open.back()] = i;
                open.pop_back();
            }
        }
    }
    return closing;
}

class Shortener {
  public:
    Shortener(std::string_view text, std::size_t list_columns)
        : text_(text), closing_(match_brackets(text)), list_columns_(list_columns) {}

    // The part [begin, end) of the text, within `depth` lists.
    std::string shorten(std::size_t begin, std::size_t end, int depth) const {
        if (depth > kDeepest) {
            return "...";
        }
        std::string kept;
        std::size_t name_start = 0;  // in `kept`, past the last space outside of lists
        bool parameters_seen = depth > 0;
        bool after_operator = false;
        for (std::size_t i = begin; i < end;) {
            if (const std::size_t past = std::min(past_operator(text_, i), end); past != i) {
                kept += text_.substr(i, past - i);
                i = past;
                after_operator = true;
                continue;
            }
            if (closing_[i] >= end) {
                kept += text_[i];
                after_operator = after_operator && text_[i] == ' ';  // operator< <int>
                if (text_[i] == ' ' && !after_operator) {
                    name_start = kept.size();
                }
                ++i;
                continue;
            }
            const std::size_t close = closing_[i];
            // A list follows a name. A bracket that does not holds a name: "<Vec<T> as Drop>::drop",
            // "(anonymous namespace)", "main.(*Server)", "{lambda(int)#1}".
            const bool is_list =
                text_[i] != '{' &&
                (after_operator ||
                 (i > begin && (is_word(text_[i - 1]) || text_[i - 1] == '>' || text_[i - 1] == ']')));
            const bool is_parameters = is_list && text_[i] == '(' && !kept.ends_with("decltype");
            if (is_parameters && !parameters_seen) {
                kept.erase(0, name_start);  // the return type
                parameters_seen = true;
            }
            kept += text_[i];
            kept += is_list ? list(i + 1, close, text_[i] == '<', depth) : shorten(i + 1, close, depth + 1);
            kept += text_[close];
            i = close + 1;
            after_operator = false;
        }
        return kept;
    }

  private:
    std::string list(std::size_t begin, std::size_t end, bool of_template, int depth) const {
        std::string joined;
        while (begin < end) {
            const std::size_t comma = end_of_argument(begin, end);
            if (!of_template || joined.empty() || !is_default(text_.substr(begin, comma - begin))) {
                joined += (joined.empty() ? "" : ", ") + shorten(begin, comma, depth + 1);
            }
            if (joined.size() > list_columns_) {
                return "...";
            }
            begin = std::min(text_.find_first_not_of(' ', comma + 1), end);
        }
        while (joined.ends_with(' ')) {  // of "> >"
            joined.pop_back();
        }
        return joined;
    }
    std::size_t end_of_argument(std::size_t begin, std::size_t end) const {
        std::size_t i = begin;
        while (i < end && text_[i] != ',') {
            i = closing_[i] < end ? closing_[i] + 1 : i + 1;
        }
        return std::min(i, end);
    }
    static bool is_default(std::string_view argument) {
        constexpr std::array<std::string_view, 7> kDefaults{
            "std::allocator<", "std::char_traits<", "std::less<",          "std::default_delete<",
            "std::hash<",      "std::equal_to<",    "alloc::alloc::Global"};
        return std::any_of(kDefaults.begin(), kDefaults.end(),
                           [argument](std::string_view start) { return argument.starts_with(start); });
    }

    std::string_view text_;
    std::vector<std::size_t> closing_;
    std::size_t list_columns_;
};

std::string with_plain_strings(std::string_view name) {
    std::string text(name);
    const auto replace = [&text](std::string_view what, std::string_view by) {
        for (std::size_t at = text.find(what); at != kNone; at = text.find(what, at + by.size())) {
            text.replace(at, what.size(), by);
        }
    };
    replace("std::__cxx11::", "std::");
    replace("std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
    return text;
}

}  // namespace

std::string short_name(std::string_view name, std::size_t list_columns) {
    if (name.find_first_of("<(") == kNone) {
        return std::string(name);
    }
    const std::string text = with_plain_strings(name);
    return Shortener(text, list_columns).shorten(0, text.size(), 0);
}

}  // namespace unfreed
