// What cc1plus compiles in the bench: mostly the standard library's headers.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

int main() {
    std::map<std::string, std::vector<std::variant<int, std::string>>> table;
    std::unordered_map<int, std::function<int(int)>> functions;
    std::regex word("([a-z]+)=([0-9]+)");
    std::smatch match;
    std::string text = "alpha=1";
    if (std::regex_search(text, match, word)) table[match[1]].emplace_back(std::stoi(match[2]));
    functions[1] = [](int n) { return n + 1; };
    std::cout << table.size() + functions.size() << '\n';
}
