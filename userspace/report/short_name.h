// Function names as a person reads them. The names that views merge by, and that files and tooltips carry,
// stay whole.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace unfreed {

// A list of template arguments or parameters that takes more columns than this is "..." in a text.
inline constexpr std::size_t kListColumns = 40;

// The C++ or Rust function `name` with what a reader can do without left out: the return type of a template,
// template arguments that a library adds by default (allocators, orders, deleters), and whole lists longer
// than `list_columns`: "std::vector<Item>::push_back(...)". Other names come back as they are. Takes any
// text.
std::string short_name(std::string_view name, std::size_t list_columns = kListColumns);

}  // namespace unfreed
